from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from ml_assets.declared.sources import Database, Http
from ml_assets.sources import http
from ml_assets.sources.postgres import Postgres
from ml_assets.sources.sqlite import Sqlite

if TYPE_CHECKING:
    from pathlib import Path

FIRST = datetime(2024, 1, 1)  # noqa: DTZ001 - naive UTC


def test_a_declared_database_becomes_a_reader(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ML_ASSETS_DATA", str(tmp_path))
    postgres = Database(url_env="SALES_DB", table="sales.orders", cursor="at", zone="Europe/Berlin").reader(
        FIRST, "UTC"
    )
    assert (postgres.name, postgres.engine) == ("SALES_DB sales.orders", Postgres("SALES_DB"))
    assert (postgres.table, postgres.cursor, postgres.zone) == ("sales.orders", "at", "Europe/Berlin")
    assert postgres.first == FIRST
    sqlite = Database(path="shop/orders.db", query="SELECT 1 AS id", order_by=["id"]).reader(FIRST, "Asia/Tokyo")
    assert sqlite.engine == Sqlite(tmp_path / "shop/orders.db", "shop/orders.db", tmp_path)
    assert (sqlite.query, sqlite.order_by, sqlite.zone) == ("SELECT 1 AS id", ("id",), "Asia/Tokyo")


def test_a_declared_api_becomes_a_reader() -> None:
    declared = Http.model_validate(
        {
            "url": "https://api.example.org/{start:%Y}",
            "params": {"limit": "100"},
            "rows": "$.rows",
            "paging": {"kind": "cursor", "path": "$.next"},
            "auth": {"kind": "basic", "secret_env": "API_PASSWORD", "user_env": "API_USER"},
            "rate": 2,
        }
    )
    reader = declared.reader(timed=True, timezone="Asia/Tokyo")
    assert reader.url == declared.url
    assert reader.paging == http.Paging("cursor", path="$.next")
    assert reader.auth == http.Auth("basic", "API_PASSWORD", user_env="API_USER")
    assert (reader.rate, reader.timed, reader.params) == (2, True, {"limit": "100"})
    assert (
        reader.zone,
        declared.model_copy(update={"zone": "UTC"}).reader(timed=True, timezone="Asia/Tokyo").zone,
    ) == (
        "Asia/Tokyo",
        "UTC",
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url_env": None}, "give either url_env .* or path"),
        ({"path": "x.db"}, "give either url_env .* or path"),
        ({"url_env": None, "path": "../x.db"}, "under the data folder"),
        ({"url_env": None, "path": "/x.db"}, "under the data folder"),
        ({"query": "SELECT 1"}, "give either table or query"),
        ({"table": None}, "give either table or query"),
        ({"cursor": None}, "give cursor, or order_by"),
        ({"order_by": ["id"]}, "remove order_by"),
        ({"zone": "Europe/Atlantis"}, "is no time zone"),
        ({"zone": "../etc/passwd"}, "is no time zone"),
    ],
)
def test_a_database_that_cannot_be_meant_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Database.model_validate({"url_env": "SALES_DB", "table": "orders", "cursor": "at", **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "api.example.org"}, "must be an address"),
        ({"url": "file:///etc/passwd"}, "must be an address"),
        ({"url": "https://anna:secret@example.org"}, "name environment variables under auth"),
        ({"rows": "rows"}, "'rows' is no JSONPath"),
        ({"total": "total"}, "'total' is no JSONPath"),
        ({"paging": {"kind": "cursor"}}, "paging by cursor: give path"),
        ({"paging": {"kind": "next", "path": "next"}}, "'next' is no JSONPath"),
        ({"auth": {"kind": "basic", "secret_env": "S"}}, "give user_env with basic"),
        ({"auth": {"kind": "bearer", "secret_env": "S", "user_env": "U"}}, "give user_env with basic"),
        ({"headers": {"authorization": "Bearer x"}}, "authorization is a secret"),
        ({"zone": "Mars"}, "is no time zone"),
        ({"rate": 0}, "greater than 0"),
    ],
)
def test_an_api_that_cannot_be_meant_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Http.model_validate({"url": "https://api.example.org", **changes})


def test_a_secret_in_place_of_a_variables_name_is_not_repeated() -> None:
    with pytest.raises(ValidationError) as caught:
        Database.model_validate({"url_env": "postgresql://me:secret@host/db", "table": "orders", "cursor": "at"})
    assert [error["msg"] for error in caught.value.errors()] == [
        "Value error, url_env: it must be the NAME of an environment variable, such as SALES_DB, not its value"
    ]
    assert "secret" not in str(caught.value)
