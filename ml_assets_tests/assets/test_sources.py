"""Sources that are no files, through the graph: only the window asked for is fetched, and nothing is lost."""

from __future__ import annotations

import importlib
import json
import sqlite3
import sys
import threading
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
from small_market import COLUMNS, JUDGED, JUDGING, PREPARING, Market, RunFailed, open_market, sales

from ml_assets.assets.source import held_by_source, open_files, open_source, touched
from ml_assets.declared.sources import Source
from ml_assets.sources.reading import Reading, SourceError
from ml_assets.sources.staging import Staged

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MONTHS = ("2024-01", "2024-02", "2024-03")
asked: list[tuple[str, str]] = []


def sales_between(start: object, end: object) -> Iterator[dict[str, str]]:
    """The function source of these tests."""
    asked.append((str(start)[:10], str(end)[:10]))
    if str(start)[:7] == "2024-03" and (trouble := str(start)[:10]) in broken:
        raise ConnectionError(f"the line went dead on {trouble}")
    yield from sales(str(start)[:7])


broken: set[str] = set()


def counted(market: Market, table: str) -> dict[str, int]:
    rows = market.table(table).group_by("_partition").len()
    return {market.project.key_of(start): count for start, count in sorted(rows.iter_rows())}


def test_a_project_on_a_database_is_filled_trained_and_caught_up(tmp_path: Path) -> None:
    market = open_market(
        tmp_path,
        clean="SELECT month, contract, town, area, price, _partition, _source, _row FROM raw",
        source={"files": "", "database": {"path": "sales/shop.db", "table": "sold", "cursor": "month"}},
    )
    file = tmp_path / "data" / "sales" / "shop.db"
    with closing(sqlite3.connect(file)) as shop, shop:
        shop.execute(f"CREATE TABLE sold ({', '.join(COLUMNS)})")
        for month in MONTHS:
            rows = [{**row, "month": f"{month}-01"} for row in sales(month)]
            shop.executemany(f"INSERT INTO sold VALUES ({', '.join(f':{name}' for name in COLUMNS)})", rows)
        shop.execute("INSERT INTO sold VALUES ('99', 'lost', NULL, 'EAST', '80', '400000')")

    market.materialize(PREPARING, MONTHS[0], MONTHS[-1])
    market.retrain(through="2024-02")
    market.materialize(JUDGING, MONTHS[0], MONTHS[-1])
    assert counted(market, "raw") == {"2024-01": 61, "2024-02": 60, "2024-03": 60}
    assert counted(market, "quarantine") == {"2024-01": 1}

    with closing(sqlite3.connect(file)) as shop, shop:
        shop.execute("UPDATE sold SET price = '1' WHERE contract = '2024-02/7'")
    with market.settings():
        assert list(map(str, touched(market.project, market.lake))) == ["2024-02: 60 rows, some of them corrected"]


def test_a_function_is_called_for_the_window_alone_and_a_retry_fetches_what_is_missing(tmp_path: Path) -> None:
    market = open_market(tmp_path, source={"files": "", "function": f"{__name__}:sales_between"})
    asked.clear()
    broken.add("2024-03-01")

    with pytest.raises(RunFailed, match=r"the line went dead on 2024-03-01"):
        market.materialize(PREPARING, *MONTHS[::2])
    assert "raw" not in market.tables()
    broken.clear()
    asked.clear()
    market.materialize(PREPARING, *MONTHS[::2])

    # The last one that was fetched whole is known to be whole only when the next has begun.
    assert asked == [("2024-02-01", "2024-03-01"), ("2024-03-01", "2024-04-01")]
    assert counted(market, "validated") == dict.fromkeys(MONTHS, 60)
    asked.clear()
    market.materialize(("raw",), "2024-02")
    assert asked == [("2024-02-01", "2024-03-01")]


def test_an_empty_month_of_a_function_is_a_partition_without_rows(tmp_path: Path) -> None:
    market = open_market(tmp_path, source={"files": "", "function": f"{__name__}:nothing"})

    market.materialize(PREPARING, "2024-01")

    assert counted(market, "raw") == {}
    assert market.metadata("raw", "2024-01")["dagster/partition_row_count"] == 0


def nothing(_start: object, _end: object) -> list[dict[str, str]]:
    """A source that has no row."""
    return []


class Api(BaseHTTPRequestHandler):
    """Pages of 25 sales of the month that is asked for; every second request is answered 500."""

    requests = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        if type(self).requests % 2 == 0 and "calm" not in query:
            self.send_error(500)
            return
        first = int(query.get("offset", 0))
        body = json.dumps({"items": sales(query["month"])[first : first + 25]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/sales"
    finally:
        server.shutdown()
        server.server_close()


def test_a_project_on_an_api_that_stumbles_gets_every_row_once(tmp_path: Path) -> None:
    with serving() as url:
        http = {
            "url": url,
            "params": {"month": "{start:%Y-%m}"},
            "rows": "$.items",
            "paging": {"kind": "offset", "size": 25},
        }
        market = open_market(tmp_path, source={"files": "", "http": http})
        market.materialize(PREPARING, "2024-01", "2024-02")

    assert counted(market, "validated") == {"2024-01": 60, "2024-02": 60}
    assert not market.table("validated").select("contract").is_duplicated().any()


def all_sales() -> list[dict[str, str]]:
    """A function whose rows have no time."""
    return sales("2024-01", rows=25)


@pytest.mark.parametrize(
    "partitions", [{"grain": "none"}, {"grain": "block", "rows": 10}], ids=lambda given: given["grain"]
)
@pytest.mark.parametrize("kind", ["database", "http", "function"])
def test_rows_without_time_are_seen_when_no_partition_is_named(
    tmp_path: Path, kind: str, partitions: dict[str, object]
) -> None:
    with serving() as url:
        source = {
            "database": {"path": "sales/shop.db", "table": "sold", "order_by": ["nr"]},
            "http": {"url": url, "params": {"month": "2024-01", "calm": "yes"}, "rows": "$.items"},
            "function": f"{__name__}:all_sales",
        }
        market = open_market(
            tmp_path,
            source={"files": "", kind: source[kind]},
            partitions={"start": "", "time": "", **partitions},
        )
        with closing(sqlite3.connect(tmp_path / "data" / "sales" / "shop.db")) as shop, shop:
            shop.execute(f"CREATE TABLE sold ({', '.join(COLUMNS)})")
            named = ", ".join(f":{name}" for name in COLUMNS)
            shop.executemany(f"INSERT INTO sold VALUES ({named})", all_sales())
        found = (
            {"all": 25}
            if partitions["grain"] == "none"
            else {"block-000001": 10, "block-000002": 10, "block-000003": 5}
        )
        with market.settings():
            held = held_by_source(market.project, market.lake)
            assert {market.project.key_of(start): content.rows for start, content in held.items()} == found
            assert [each.source for each in touched(market.project, market.lake)] == list(found.values())
            # As a run reads them, kept aside on the way, and as the run's second attempt does.
            for _ in range(2):
                staged = open_source(market.project, staged=True)
                assert sum(frame.height for frame in staged.frames([], COLUMNS, Reading())) == 25


def test_local_times_of_a_database_are_of_the_projects_zone(tmp_path: Path) -> None:
    market = open_market(
        tmp_path,
        clean="SELECT month, contract, town, area, price, _partition, _source, _row FROM raw",
        schema="timed_flat_schema:Flat",
        source={"files": "", "database": {"path": "sales/shop.db", "table": "sold", "cursor": "month"}},
        partitions={"grain": "day", "start": "2024-10-26", "time": "month", "timezone": "Europe/Berlin"},
    )
    moments = ["2024-10-26 00:30:00", "2024-10-26 23:30:00", "2024-10-27 02:30:00", "2024-10-28 00:00:00"]
    with closing(sqlite3.connect(tmp_path / "data" / "sales" / "shop.db")) as shop, shop:
        shop.execute(f"CREATE TABLE sold ({', '.join(COLUMNS)})")
        rows = [{**row, "month": at} for row, at in zip(sales("2024-10"), moments, strict=False)]
        shop.executemany(f"INSERT INTO sold VALUES ({', '.join(f':{name}' for name in COLUMNS)})", rows)

    market.materialize(JUDGED, "2024-10-26", "2024-10-28")

    assert counted(market, "validated") == {"2024-10-26": 2, "2024-10-27": 1, "2024-10-28": 1}
    assert counted(market, "quarantine") == {}


def test_a_cursor_where_partitions_have_no_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the cursor 'month' places rows in time.*Remedy: write order_by"):
        open_market(
            tmp_path,
            source={"files": "", "database": {"path": "sales/shop.db", "table": "sold", "cursor": "month"}},
            partitions={"grain": "none", "start": "", "time": ""},
        )


def test_kept_rows_are_those_of_one_declaration_place_secret_and_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_DB", "postgresql://me:hidden@here/shop")
    database = {"files": "", "database": {"url_env": "SHOP_DB", "table": "sold", "cursor": "month"}}
    module = tmp_path / "shop_function.py"
    module.write_text("def sold(start, end): return []")
    monkeypatch.syspath_prepend(str(tmp_path))
    function = {"files": "", "function": "shop_function:sold"}

    def origin(source: dict[str, object], data: str = "data", **partitions: str) -> str:
        market = open_market(tmp_path, source=source, partitions=partitions)
        monkeypatch.setenv("ML_ASSETS_DATA", str(tmp_path / data))
        reader = open_source(market.project, staged=True)
        assert isinstance(reader, Staged)
        return reader.declaration

    found = [
        origin(database),
        origin(database, start="2023-01"),
        origin(database, timezone="Europe/Berlin"),
        origin(database, data="elsewhere"),
        origin(function),
    ]
    assert origin(database) == found[0]
    monkeypatch.setenv("SHOP_DB", "postgresql://me:hidden@there/shop")
    module.write_text("def sold(start, end): return [{}]  # more")
    importlib.reload(sys.modules["shop_function"])
    found += [origin(database), origin(function)]
    assert len(set(found)) == len(found)
    assert not any("hidden" in each for each in found)


def test_an_absolute_path_of_files_follows_links_and_one_under_the_data_folder_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_ASSETS_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere.csv").write_text("id\n1\n")
    (tmp_path / "data" / "link.csv").symlink_to(tmp_path / "elsewhere.csv")

    def rows(files: str) -> int:
        return sum(frame.height for frame in open_files(Source(files=files)).frames([], ("id",), Reading()))

    assert rows(str(tmp_path / "data" / "link.csv")) == 1
    with pytest.raises(SourceError, match="leads out of the data folder"):
        rows("link.csv")
