"""What a row of a request must be: what the schema's own checks say of it, no more and no less."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.declared.rows import Partitions
from ml_assets.declared.serving import Serving
from ml_assets.serving.predicting.bulk import Judge
from ml_assets.serving.predicting.request import Contract, Outline, RefusedError, outline_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA = "every_limit_schema:EveryLimit"
GOOD: dict[str, Any] = {
    "whole": 1, "small": None, "share": 0.5, "town": "EAST", "other": "abc", "code": "A1", "known": True,
    "day": "2024-02-29", "at": "2024-01-31T14:30:00", "moment": None, "even": 2,
}  # fmt: skip
NEAR: dict[str, st.SearchStrategy[Any]] = {
    "whole": st.integers(-4, 7),
    "small": st.none() | st.integers(-130, 130),
    "share": st.sampled_from([0, 1, 5e-324, 0.5, 1.0000000000000002, -1.0]),
    "town": st.none() | st.sampled_from(["EAST", "WEST", "east", ""]),
    "other": st.sampled_from(["NONE", "a", "ab", "é" * 4, "abcde"]),
    "code": st.none() | st.sampled_from(["A1", "a1", "xA1", "A1x", "A12", "A1\n"]),
    "known": st.none() | st.booleans(),
    "day": st.none() | st.dates(date(2023, 12, 30), date(2024, 1, 3)).map(str),
    "at": st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(datetime.isoformat),  # noqa: DTZ001
    "moment": st.none() | st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(datetime.isoformat),  # noqa: DTZ001
    "even": st.integers(-3, 5),
}


@dataclass(frozen=True)
class Declared:
    """As much of a project as a judge asks for."""

    schema: str = SCHEMA
    serving: Serving = field(default_factory=Serving)
    timezone: str = "UTC"

    @property
    def calendar(self) -> Any:
        return Partitions(grain="month", start="2024-01", time="day", timezone=self.timezone).calendar


@pytest.fixture(scope="module")
def outline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outline]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ML_ASSETS_HOME", str(tmp_path_factory.mktemp("home")))
        made = outline_of(SCHEMA)
        assert outline_of(SCHEMA) == made, "from the cache"
        yield made


@pytest.fixture(scope="module")
def contract(outline: Outline) -> Contract:
    columns = [column for column in outline.columns if column.name != "price"]
    return Contract(columns, set(GOOD), unknown="refuse", timezone="UTC")


@pytest.fixture(scope="module")
def judge(contract: Contract) -> Judge:
    return Judge(Declared(), contract)  # type: ignore[arg-type]


def passes(ask: Any) -> bool:
    try:
        ask()
    except RefusedError:
        return False
    return True


@settings(max_examples=150)
@given(st.sampled_from(sorted(NEAR)).flatmap(lambda name: NEAR[name].map(lambda value: (name, value))))
def test_a_value_passes_here_as_it_passes_the_schema(contract: Contract, judge: Judge, named: tuple[str, Any]) -> None:
    name, value = named
    row = GOOD | {name: value}
    frame = pl.DataFrame(
        [row], schema_overrides={"day": pl.String, "small": pl.Int64, "code": pl.String, "moment": pl.String}
    )
    wanted = passes(lambda: judge.refuse(frame))
    if name == "even" and value % 2:
        return  # a check of one's own is asked of the schema itself
    assert passes(lambda: contract.read(json.dumps(row).encode(), 1)) == wanted


def test_limits_are_told_in_words(contract: Contract, outline: Outline) -> None:
    assert outline.demands_more
    assert {name: column.words for name, column in contract.columns.items()} == {
        "whole": "a whole number at least -2 and less than 5",
        "small": "a whole number at least -128 and at most 127, or null",
        "share": "a number more than 0 and at most 1",
        "town": "one of EAST, WEST",
        "other": "text of at least 2 characters and of at most 4 characters, none of NONE",
        "code": r"text that matches ^[A-Z]\d$, or null",
        "known": "true or false",
        "day": "a date as 2024-01-31 at least 2024-01-01, or null",
        "at": "a time as 2024-01-31T14:30:00",
        "moment": "a time as 2024-01-31T14:30:00, or null",
        "even": "a whole number, none of 4 (An even number.)",
    }


def test_the_document_tells_the_limits_of_whole_numbers(contract: Contract) -> None:
    whole = contract.row.json_schema()["properties"]["whole"]
    assert (whole["minimum"], whole["exclusiveMaximum"]) == (-2, 5)


def test_a_check_of_ones_own_is_asked_of_the_schema(judge: Judge) -> None:
    with pytest.raises(RefusedError) as refused:
        judge.refuse(pl.DataFrame([GOOD | {"even": 3}], schema_overrides={"small": pl.Int64}))
    (one,) = refused.value.mistakes
    assert (one.row, one.field, one.value) == (0, "even", "3")
    assert one.message == "even: 3 is not a whole number, none of 4 (An even number.)"


def test_fields_that_are_not_known_are_ignored_where_that_is_declared(outline: Outline) -> None:
    columns = [column for column in outline.columns if column.name != "price"]
    lenient = Contract(columns, {"whole"}, unknown="ignore", timezone="UTC")
    assert lenient.read(b'{"whole": 2.0, "colour": "red"}', 1) == [{"whole": 2}]


def test_a_time_with_a_zone_is_read_as_the_projects_and_one_that_the_clocks_skip_is_none(outline: Outline) -> None:
    berlin = Contract(outline.columns, {"at"}, unknown="refuse", timezone="Europe/Berlin")
    read = berlin.read(b'{"at": "2024-07-01T12:00:00Z"}', 1)
    assert read == [{"at": datetime(2024, 7, 1, 14)}]  # noqa: DTZ001
    with pytest.raises(RefusedError, match="is not a time as"):
        berlin.read(b'{"at": "2024-03-31T02:30:00"}', 1)


def test_a_moment_with_a_zone_stays_the_moment_and_without_one_is_meant_in_the_projects(outline: Outline) -> None:
    berlin = Contract(outline.columns, {"moment"}, unknown="refuse", timezone="Europe/Berlin")
    for text in ("2024-07-01T05:00:00Z", "2024-07-01T07:00:00", "2024-07-01T13:00:00+08:00"):
        (row,) = berlin.read(json.dumps({"moment": text}).encode(), 1)
        assert row["moment"] == datetime(2024, 7, 1, 5, tzinfo=UTC), text


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00", "0001-01-01T00:00:00+14:00"])
@pytest.mark.parametrize("name", ["at", "moment"])
def test_a_time_outside_the_calendar_is_refused(outline: Outline, name: str, text: str) -> None:
    far = Contract(outline.columns, {name}, unknown="refuse", timezone="Asia/Singapore")
    with pytest.raises(RefusedError, match="is not a time as"):
        far.read(json.dumps({name: text}).encode(), 1)


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_times_of_a_frame_are_meant_as_those_of_json(outline: Outline, zone: str | None) -> None:
    columns = [column for column in outline.columns if column.name in {"at", "moment"}]
    contract = Contract(columns, {"at", "moment"}, unknown="refuse", timezone="Asia/Singapore")
    judge = Judge(Declared(timezone="Asia/Singapore"), contract)  # type: ignore[arg-type]
    time = datetime(2024, 3, 1, 5)  # noqa: DTZ001
    frame = pl.DataFrame({"at": [time], "moment": [time]}).with_columns(pl.all().dt.replace_time_zone(zone))
    text = time.isoformat() + ("Z" if zone else "")
    assert judge.refuse(frame).to_dicts() == contract.read(json.dumps({"at": text, "moment": text}).encode(), 1)


TWICE = """
import pandera.polars as pa
from towns_of_twice import TOWNS

class Twice(pa.DataFrameModel):
    low: int = pa.Field(ge=0, in_range={"min_value": -5, "max_value": 10})
    one: int = pa.Field(isin=[1, 2, 3], eq=2)
    none: str = pa.Field(ne="x", notin=["y"])
    town: str = pa.Field(isin=TOWNS)
"""


def test_limits_of_the_same_kind_hold_together_and_those_that_are_imported_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ML_ASSETS_HOME", str(tmp_path / "home"))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "twice_schema.py").write_text(TWICE)

    def limits(towns: list[str]) -> dict[str, Any]:
        (tmp_path / "towns_of_twice.py").write_text(f"TOWNS = {towns}\n")
        for name in ("twice_schema", "towns_of_twice"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return {column.name: column.limits for column in outline_of("twice_schema:Twice").columns}

    found = limits(["EAST"])
    assert (found["low"]["ge"], found["low"]["le"]) == (0, 10)
    assert found["one"]["allowed"] == [2]
    assert sorted(found["none"]["forbidden"]) == ["x", "y"]
    assert limits(["EAST", "NORTH"])["town"] == {"allowed": ["EAST", "NORTH"]}


def test_a_schema_of_the_shipped_projects_has_its_limits_in_the_document() -> None:
    outline = outline_of("ml_assets.defs.flight_delays.schema:Flight")
    limits = {column.name: column.limits for column in outline.columns}
    assert limits["carrier"] == {"pattern": "^[A-Z0-9]{2}$"}
    assert limits["distance"] == {"gt": 0, "le": 6000}
    assert not outline.demands_more
