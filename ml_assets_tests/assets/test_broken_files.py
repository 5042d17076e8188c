"""Files that are broken: an error that names file and column, or rows in quarantine with the reason. Never silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from small_market import COLUMNS, JUDGED, NAME, Market, RunFailed, sales

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = ",".join(COLUMNS)


def text(month: str) -> str:
    return "\n".join([HEAD, *(",".join(row.values()) for row in sales(month))])


BROKEN = {
    "missing": (None, "there is no such file"),
    "empty": (b"", "the file is empty"),
    "half a header": (HEAD.encode(), "ends within its header"),
    "renamed column": (
        text("2024-01").replace("price", "sale_price", 1).encode(),
        "the column 'price' is missing; did it become 'sale_price'?",
    ),
    "Latin-1": (text("2024-01").replace("EAST", "ÉAST", 1).encode("latin-1"), "is not UTF-8"),
    "UTF-16": (text("2024-01").encode("utf-16"), "is not UTF-8"),
    "open quote": (text("2024-01").replace("EAST", '"EAST', 1).encode(), "a quote is not closed"),
    "web page": (b"<html><body>Service unavailable</body></html>\n<p>", "is missing"),
}


@pytest.fixture(scope="module")
def filled(shared: Market, calendar: Iterator[str]) -> str:
    """A month that is there already when its file breaks."""
    month = next(calendar)
    shared.write(month, sales(month))
    shared.materialize((*JUDGED, "features"), month)
    return month


@pytest.mark.parametrize(("content", "message"), BROKEN.values(), ids=BROKEN)
def test_a_file_that_cannot_be_read_fails_the_run_and_touches_nothing(
    shared: Market, filled: str, content: bytes | None, message: str
) -> None:
    before = {name: shared.table(name, filled) for name in (*JUDGED, "features")}
    if content is None:
        shared.file(filled).unlink()
    else:
        shared.file(filled).write_bytes(content)
    with pytest.raises(RunFailed) as failure:
        shared.refresh(filled)

    assert f"SourceError: sales/{filled}.csv" in failure.value.message
    assert message in failure.value.message
    assert shared.steps(failure.value.run_id) == [f"{NAME}__raw"], "nothing downstream ran"
    assert before["features"].height == 60
    for name, rows in before.items():
        assert shared.table(name, filled).equals(rows), name


def test_one_broken_file_in_a_range_writes_no_month_of_it(shared: Market, months: list[str]) -> None:
    for month in months:
        shared.write(month, sales(month))
    shared.file(months[1]).write_text("")
    with pytest.raises(RunFailed, match=months[1]):
        shared.materialize(JUDGED, months[0], months[2])

    assert all(shared.event("raw", month) is None for month in months)
    if "raw" in shared.tables():
        assert sum(shared.table("raw", month).height for month in months) == 0


def test_bad_values_put_their_rows_into_quarantine_with_the_reasons(shared: Market, month: str) -> None:
    shared.write(month, [{**row, "town": "EAST", "area": "80"} for row in sales(month, rows=60)])
    lines = shared.file(month).read_bytes().decode().splitlines(keepends=True)
    breaks = [
        (",80,", ",about 80,", ("area__cast", "about 80")),
        (",80,", ',"8,0",', ("area__cast", "8,0")),
        (",80,", ",,", ("area__not_null", None)),
        ("EAST,80", "EAST", ("rows__well_formed", "5 fields, the header has 6")),
        ("EAST,80", "EAST,80,9", ("rows__well_formed", "7 fields, the header has 6")),
        ("EAST,80", "E\0ST,80", ("town__isin", "E\0ST")),
    ]
    for number, (old, new, _) in enumerate(breaks, start=1):
        lines[number] = lines[number].replace(old, new)
    shared.file(month).write_bytes("".join(lines).encode())
    shared.materialize(JUDGED, month)

    found = {
        row["_row"]: [
            (reason["check"], reason["value"] and reason["value"].split(":")[0]) for reason in row["_reasons"]
        ]
        for row in shared.table("quarantine", month).iter_rows(named=True)
    }
    assert sorted(found) == [1, 2, 3, 4, 5, 6]
    for number, (_, _, reason) in enumerate(breaks, start=1):
        assert reason in found[number]
    assert shared.table("validated", month).height == 54


def test_half_a_last_line_is_in_quarantine_and_the_others_are_not(shared: Market, month: str) -> None:
    shared.write(month, sales(month, rows=30))
    whole = shared.file(month).read_bytes()
    shared.file(month).write_bytes(whole[: whole.rindex(b",")])
    shared.materialize(JUDGED, month)

    (bad,) = shared.table("quarantine", month).iter_rows(named=True)
    assert bad["_row"] == 30
    assert "rows__well_formed" in {reason["check"] for reason in bad["_reasons"]}
    assert shared.metadata("validated", month)["validated_rows"] == 29


def test_a_byte_order_mark_and_windows_newlines_change_no_row(shared: Market, months: list[str]) -> None:
    plain, marked, _ = months
    rows = [{**row, "month": marked} for row in sales(plain)]
    shared.write(plain, [{**row, "month": plain} for row in rows])
    shared.write(marked, rows)
    content = shared.file(marked).read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    shared.file(marked).write_bytes(b"\xef\xbb\xbf" + content)
    shared.materialize(JUDGED, plain, marked)

    kept = [
        shared.table("validated", month).select("contract", "town", "area", "price", "_row") for month in months[:2]
    ]
    assert kept[0].height == 60
    assert kept[0].equals(kept[1])


def test_an_extra_column_is_kept_in_raw_and_told(shared: Market, months: list[str]) -> None:
    with_floor, without, _ = months
    shared.write(with_floor, [{**row, "floor": "9"} for row in sales(with_floor)], (*COLUMNS, "floor"))
    shared.write(without, sales(without))
    shared.materialize(JUDGED, with_floor, without)

    assert shared.metadata("raw", with_floor)["unused_columns"] == "nr, floor"
    assert shared.metadata("raw", without)["unused_columns"] == "nr"
    assert set(shared.table("raw", with_floor)["floor"]) == {"9"}
    assert shared.table("raw", without)["floor"].null_count() == 60
    assert "floor" not in shared.columns("validated")
    assert shared.table("validated", with_floor).height == 60


def test_the_material_of_raw_names_the_file_and_its_digest(shared: Market, month: str) -> None:
    shared.write(month, sales(month))
    shared.materialize(["raw"], month)

    metadata = shared.metadata("raw", month)
    assert metadata["source"] == f"sales/{month}.csv"
    assert len(metadata["sha256"]) == 64
    assert metadata["dagster/partition_row_count"] == metadata["rows"] == 60
