from __future__ import annotations

import datetime as dt
import logging
import os
import shutil
import sqlite3
import threading
from contextlib import closing
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml_assets.sources import databases
from ml_assets.sources import postgres as postgres_module
from ml_assets.sources import sqlite as sqlite_module
from ml_assets.sources.databases import DatabaseReader
from ml_assets.sources.postgres import Postgres
from ml_assets.sources.reading import Part, Reading, SourceError
from ml_assets.sources.sqlite import Sqlite
from ml_assets.sources.staging import Staged
from ml_assets_tests.sources.postgres_server import PASSWORD, Server, new_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FIRST = datetime(2024, 1, 1)  # noqa: DTZ001 - naive UTC
ALL = ("id", "at", "amount")


def days(first: int, last: int, of: datetime = FIRST) -> list[Part]:
    starts = [of + timedelta(days=number - 1) for number in range(first, last + 1)]
    return [Part(f"{start:%Y-%m-%d}", start, start + timedelta(days=1)) for start in starts]


def read(
    reader: DatabaseReader, parts: list[Part], required: tuple[str, ...] = (), reading: Reading | None = None
) -> pl.DataFrame:
    frames = list(reader.frames(parts, required, reading or Reading()))
    return pl.concat(frames, how="diagonal") if frames else pl.DataFrame()


def by_partition(rows: pl.DataFrame, column: str = "id") -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = {}
    for start, value in rows.select("_partition", column).iter_rows():
        found.setdefault(f"{start:%d}", []).append(value)
    return found


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    running = new_server()
    if running is None:
        message = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    yield running
    running.stop()
    shutil.rmtree(running.folder)


@pytest.fixture
def postgres(server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., DatabaseReader]:
    """Makes tables and a reader of them."""
    monkeypatch.setenv("SALES_DB", server.url)

    def reader(sql: str = "", *, first: datetime | None = FIRST, backoff: float = 0.01, **more: Any) -> DatabaseReader:
        server.run("DROP SCHEMA public CASCADE; CREATE SCHEMA public; SET client_min_messages = error;" + sql)
        return DatabaseReader(name="SALES_DB sales", engine=Postgres("SALES_DB"), first=first, backoff=backoff, **more)

    return reader


@pytest.fixture
def sqlite(tmp_path: Path) -> Callable[..., DatabaseReader]:
    def reader(sql: str = "", *, first: datetime | None = FIRST, **more: Any) -> DatabaseReader:
        path = tmp_path / "sales & more.sqlite"
        connection = sqlite3.connect(path)
        connection.executescript(sql)
        connection.close()
        return DatabaseReader(name="sales.sqlite", engine=Sqlite(path, "sales.sqlite"), first=first, **more)

    return reader


SALES = """
CREATE TABLE sales (id integer PRIMARY KEY, at {type}, amount numeric(20, 2));
INSERT INTO sales VALUES
    (1, {stray}, 1.10), (2, '2024-01-01 00:00:00', 100), (3, '2024-01-01 23:59:59.999', 99999999999999999.99),
    (4, '2024-01-02 12:00:00', NULL), (5, '2024-01-03 00:00:00', -1), (6, '2024-01-05 10:00:00', 0),
    (7, '2023-12-31 23:59:59', 7);
"""


@pytest.mark.parametrize("kind", ["timestamp", "timestamptz", "text"])
def test_a_window_of_postgresql_brings_its_rows_by_partition(
    postgres: Callable[..., DatabaseReader], kind: str
) -> None:
    reader = postgres(
        "SET timezone = 'UTC';" + SALES.format(type=kind, stray="'2024-01-01 08:00:00'"), table="sales", cursor="at"
    )
    assert by_partition(read(reader, days(2, 4))) == {"02": ["4"], "03": ["5"]}
    assert by_partition(read(reader, days(1, 2))) == {"01": ["7", "2", "1", "3"], "02": ["4"]}


def test_all_fields_of_postgresql_are_text_as_the_database_tells_them(postgres: Callable[..., DatabaseReader]) -> None:
    reader = postgres(
        """
        CREATE TABLE sales (at timestamptz, amount numeric, ratio double precision, ok boolean, blob bytea, more jsonb,
            list text[], "Na""me" text, empty text, day date, huge bigint);
        INSERT INTO sales VALUES ('2024-01-01 09:30:00.25+02', 1234567890123456789.010, 0.1, true, '\\xdeadbeef',
            '{"b": 1.10, "a": null}', '{a,"b c"}', 'Zoë', '', '2024-01-31', 9223372036854775807);
        """,
        table="sales",
        cursor="at",
    )
    row = read(reader, days(1, 1)).row(0, named=True)
    assert row == {
        "at": "2024-01-01 07:30:00.25+00",
        "amount": "1234567890123456789.010",
        "ratio": "0.1",
        "ok": "true",
        "blob": "deadbeef",
        "more": '{"a": null, "b": 1.10}',
        "list": '["a","b c"]',
        'Na"me': "Zoë",
        "empty": "",
        "day": "2024-01-31",
        "huge": "9223372036854775807",
        "_partition": FIRST,
        "_source": "SALES_DB sales 2024-01-01",
        "_row": 1,
        "_malformed": None,
    }


STRAYS = {
    "timestamp": ["NULL", "'infinity'", "'-infinity'", "'2023-12-31 23:59:59'", "'12024-01-01'", "'0044-03-15 BC'"],
    "timestamptz": ["NULL", "'infinity'", "'-infinity'", "'2023-12-31 23:59:59Z'", "'12024-01-01'"],
    "date": ["NULL", "'infinity'", "'-infinity'", "'2023-12-31'", "'12024-01-01'", "'5874897-01-01'"],
    "bigint": ["NULL", "-1", "0", "1704067199", "1704067200000", "9223372036854775807"],
    "double precision": ["NULL", "'NaN'", "'Infinity'", "'-Infinity'", "1e300", "1704067199.9"],
    "numeric": ["NULL", "'NaN'", "'Infinity'", "1704067199.999999"],
    "text": [
        *("NULL", "''", "'soon'", "'2024-02-30'", "'2024-13-01'", "'2024-01-01 25:00'", "' 2024-01-01'", "'0000-01'"),
        *("'2023-12-31T23:59:59Z'", "'2024-01-01T01:00:00+02:00'", "'2023-12'", "'01/02/2024'", "'2024-01-02x'"),
    ],
}
WELL = {
    "bigint": "1704153600",
    "double precision": "1704153600.5",
    "numeric": "1704153600.5",
    "text": "'2024-01-02T00:30'",
}


@pytest.mark.parametrize("kind", STRAYS)
def test_rows_of_postgresql_that_no_partition_would_ask_for_come_with_the_first(
    postgres: Callable[..., DatabaseReader], kind: str
) -> None:
    values = [*STRAYS[kind], WELL.get(kind, "'2024-01-02'")]
    inserted = ", ".join(f"({number}, {value})" for number, value in enumerate(values))
    reader = postgres(
        f"SET timezone = 'UTC'; CREATE TABLE sales (id int, at {kind}); INSERT INTO sales VALUES {inserted};",
        table="sales",
        cursor="at",
    )
    found = by_partition(read(reader, days(1, 4)))
    assert sorted(map(int, found["01"])) == list(range(len(STRAYS[kind])))
    assert found["02"] == [str(len(STRAYS[kind]))]
    # Whoever asks for later partitions only is not given them again.
    assert by_partition(read(reader, days(2, 4))) == {"02": [str(len(STRAYS[kind]))]}
    assert reader.there(days(1, 4)) == days(1, 2)


@pytest.mark.parametrize(
    ("zone", "start", "day"),
    [  # Clocks go back by an hour, half an hour, two hours: what they show twice is the first of the two (ADR 0009).
        ("Europe/Berlin", datetime(2024, 10, 26, 22), "2024-10-27"),  # noqa: DTZ001 - naive UTC
        ("Australia/Lord_Howe", datetime(2024, 4, 6, 13), "2024-04-07"),  # noqa: DTZ001
        ("Antarctica/Troll", datetime(2024, 10, 26, 22), "2024-10-27"),  # noqa: DTZ001
    ],
)
def test_naive_times_of_postgresql_are_of_the_declared_zone(
    postgres: Callable[..., DatabaseReader], zone: str, start: datetime, day: str
) -> None:
    begins = [start + n * timedelta(minutes=30) for n in range(14)]
    halves = [Part(f"{each:%H%M}", each, each + timedelta(minutes=30)) for each in begins]
    texts = [f"{day} 0{minutes // 60}:{minutes % 60:02}:00" for minutes in range(0, 240, 15)]
    for kind in ("timestamp", "text"):
        inserted = ", ".join(f"({number}, '{each}')" for number, each in enumerate(texts))
        reader = postgres(
            f"CREATE TABLE sales (id int, at {kind}); INSERT INTO sales VALUES {inserted};",
            table="sales",
            cursor="at",
            zone=zone,
            first=start,
        )
        found = {row[0]: row[1] for row in read(reader, halves).select("id", "_partition").iter_rows()}
        local = [datetime.fromisoformat(each).replace(tzinfo=ZoneInfo(zone)) for each in texts]
        moments = [each.astimezone(dt.UTC).replace(tzinfo=None) for each in local]
        assert found == {
            str(number): max(begin for begin in begins if begin <= moment) for number, moment in enumerate(moments)
        }
        # The newest is told by the same rule.
        assert reader.there(halves) == [part for part in halves if part.start <= max(moments)]


def test_a_query_of_postgresql_is_taken_whole(postgres: Callable[..., DatabaseReader]) -> None:
    reader = postgres(
        SALES.format(type="timestamp", stray="NULL"),
        query="SELECT id, at, 'it''s ' || id AS name FROM sales WHERE id <> 7 -- but the old one",
        cursor="at",
    )
    assert by_partition(read(reader, days(1, 2)), "name")["01"] == ["it's 1", "it's 2", "it's 3"]


def test_row_numbers_do_not_depend_on_what_else_is_read_nor_on_where_rows_lie(
    postgres: Callable[..., DatabaseReader], server: Server
) -> None:
    reader = postgres(
        "CREATE TABLE sales (id int, at date, name text); INSERT INTO sales "
        "SELECT i, '2024-01-01'::date + i % 3, chr(65 + i % 7) FROM generate_series(1, 300) i;",
        table="sales",
        cursor="at",
    )
    whole, reading, again = read(reader, days(1, 3)), Reading(), Reading()
    read(reader, days(2, 2), (), reading)
    # An update moves a row within PostgreSQL's file.
    server.run("UPDATE sales SET id = id WHERE id % 5 = 0;")
    second = read(reader, days(2, 2), (), again)
    assert second.equals(whole.filter(pl.col("_partition") == FIRST + timedelta(days=1)).select(second.columns))
    assert second["_row"].to_list() == list(range(1, 101))
    assert reading.facts == again.facts
    server.run("UPDATE sales SET name = 'changed' WHERE id = 1;")
    changed = Reading()
    read(reader, days(2, 2), (), changed)
    assert changed.facts["2024-01-02"]["sha256"] != again.facts["2024-01-02"]["sha256"]


def test_a_table_without_time_is_read_whole_in_the_declared_order(postgres: Callable[..., DatabaseReader]) -> None:
    reader = postgres(
        "CREATE TABLE sales (id int, name text); INSERT INTO sales VALUES (10, 'b'), (9, 'a'), (NULL, 'c');",
        table="sales",
        order_by=("id",),
        first=None,
    )
    reading = Reading()
    rows = read(reader, days(1, 2), ("id",), reading)
    assert rows["id"].to_list() == [None, "9", "10"]
    assert "_partition" not in rows.columns
    assert rows["_source"].unique().to_list() == ["SALES_DB sales"]
    assert list(reading.facts) == [""]
    assert reading.unexpected == {"SALES_DB sales": ("name",)}


def test_an_empty_partition_is_told_and_brings_no_rows(postgres: Callable[..., DatabaseReader]) -> None:
    reader = postgres("CREATE TABLE sales (at date);", table="sales", cursor="at")
    reading = Reading()
    assert read(reader, days(1, 2), ("at",), reading).is_empty()
    assert list(reading.facts) == ["2024-01-01", "2024-01-02"]
    assert reader.there(days(1, 2)) == []


def test_an_index_on_the_cursor_serves_the_window(postgres: Callable[..., DatabaseReader], server: Server) -> None:
    reader = postgres(
        "CREATE TABLE sales (id int, at timestamp); CREATE INDEX by_time ON sales (at); INSERT INTO sales "
        "SELECT i, '2024-01-01'::timestamp + i * interval '1 minute' FROM generate_series(1, 100000) i; "
        "ANALYZE sales;",
        table="sales",
        cursor="at",
    )
    assert read(reader, days(10, 10)).height == 24 * 60
    time_of_scan = "SELECT pg_sleep(0.2); SELECT seq_tup_read < 100000, idx_tup_fetch >= 1440 FROM pg_stat_user_tables"
    server.run("SELECT pg_stat_force_next_flush();")
    for _ in range(50):
        told = server.run(f"{time_of_scan} WHERE relname = 'sales';").split()
        if told == ["t|t"]:
            break
    assert told == ["t|t"]


def test_nothing_can_be_written_through_a_query(postgres: Callable[..., DatabaseReader], server: Server) -> None:
    reader = postgres(
        SALES.format(type="timestamp", stray="NULL")
        + "CREATE FUNCTION wipe() RETURNS int LANGUAGE sql AS 'DELETE FROM sales RETURNING 1';",
        query="SELECT '2024-01-01'::date AS at, wipe() AS x",
        cursor="at",
    )
    with pytest.raises(SourceError, match="read-only transaction"):
        read(reader, days(1, 1))
    assert server.run("SELECT count(*) FROM sales").strip() == "7"


@pytest.mark.parametrize(
    ("more", "required", "words"),
    [
        ({"table": "salse", "cursor": "at"}, (), r"no table 'salse'.*did you mean 'sales'\?"),
        ({"table": "public.salse", "cursor": "at"}, (), r"did you mean 'public.sales'\?"),
        ({"table": "sales", "cursor": "att"}, (), r"the column 'att' is missing; did you mean 'at'\?"),
        ({"table": "sales", "cursor": "at"}, ("amuont",), r"'amuont' is missing; did you mean 'amount'\?"),
        ({"table": "sales", "order_by": ("idd",)}, (), r"did you mean 'id'\?"),
        ({"query": "SELECT nope FROM sales", "cursor": "at"}, (), 'column "nope" does not exist'),
        ({"query": "SELECT amount AS at FROM sales WHERE 1 / (id - id) = 1", "cursor": "at"}, (), "division by zero"),
        ({"query": 'SELECT at, id AS a, amount AS "A" FROM sales', "cursor": "at"}, (), 'gives two columns "A"'),
        ({"query": "SELECT id = 1 AS at FROM sales", "cursor": "at"}, (), "type boolean, which is no time"),
    ],
)
def test_what_is_wrong_with_a_declaration_is_said(
    postgres: Callable[..., DatabaseReader], more: dict[str, object], required: tuple[str, ...], words: str
) -> None:
    reader = postgres(SALES.format(type="timestamp", stray="NULL"), **more)
    with pytest.raises(SourceError, match=words):
        read(reader, days(1, 1), required)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda url: url.replace("p%40ss", "wr0ng%40"), "password authentication failed"),
        (lambda url: url.replace(url.rpartition(":")[2], "1/postgres"), "in 5 attempts: .*[Cc]onnection refused"),
        (lambda url: url.replace("/postgres", "/nowhere"), 'database "nowhere" does not exist'),
        (lambda url: url.replace("%2F", "/"), "SALES_DB is no address"),
        (lambda url: url.replace("%23", "#"), "SALES_DB is no address"),
        (lambda url: url.replace("postgresql:", "mysql:"), "SALES_DB is no address"),
        (lambda url: url + "?password=p%40ss", "SALES_DB is no address"),
        (lambda _: "", "SALES_DB, the database's address, is not set"),
    ],
)
def test_no_message_log_or_repr_tells_the_password(
    postgres: Callable[..., DatabaseReader],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[str], str],
    words: str,
) -> None:
    reader = postgres(table="sales", cursor="at")
    monkeypatch.setenv("SALES_DB", change(os.environ["SALES_DB"]))
    with caplog.at_level(logging.DEBUG), pytest.raises(SourceError, match=words) as caught:
        read(reader, days(1, 1))
    chain, error = "", caught.value
    while error is not None:
        chain += f"{error!r} {error}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    for secret in (PASSWORD, "w'rd", "p%40ss", "wr0ng"):
        assert secret not in chain + caplog.text + repr(reader)


def test_a_connection_closed_in_the_middle_is_made_again_and_no_row_is_lost_or_doubled(
    postgres: Callable[..., DatabaseReader], server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = postgres(
        "CREATE TABLE sales (id int, at timestamp, filling text); INSERT INTO sales SELECT i, "
        "'2024-01-01'::timestamp + i * interval '1 second', repeat('x', 200) FROM generate_series(0, 259199) i;",
        table="sales",
        cursor="at",
    )
    monkeypatch.setattr(postgres_module, "FRAME", 10_000)
    waits: list[float] = []
    monkeypatch.setattr(databases, "sleep", waits.append)
    frames, killed = [], 0
    for frame in reader.frames(days(1, 3), (), Reading()):
        frames.append(frame)
        if killed < 2 and frame["_partition"][0] == FIRST + timedelta(days=killed):
            killed += 1
            sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'ml-assets'"
            assert int(server.run(sql)) >= 1
    rows = pl.concat(frames)
    assert killed == 2
    assert waits  # so the connection was lost indeed
    assert rows["id"].cast(pl.Int64).to_list() == list(range(259_200))
    assert rows["_row"].to_list() == list(range(1, 86_401)) * 3


def test_the_address_may_hold_parameters_of_the_connection(
    postgres: Callable[..., DatabaseReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = postgres(
        "CREATE TABLE sales (at date); INSERT INTO sales VALUES ('2024-01-01');",
        query="SELECT *, current_setting('application_name') AS name FROM sales",
        cursor="at",
    )
    monkeypatch.setenv("SALES_DB", os.environ["SALES_DB"] + "?sslmode=disable&application_name=it's%20%5Cme")
    assert read(reader, days(1, 1))["name"].to_list() == ["it's \\me"]


def test_partitions_of_a_database_can_be_staged(
    postgres: Callable[..., DatabaseReader], server: Server, tmp_path: Path
) -> None:
    reader = postgres(SALES.format(type="timestamp", stray="NULL"), table="sales", cursor="at")
    whole, staged = read(reader, days(1, 6)), Staged(reader, tmp_path, "declared")
    frames = staged.frames(days(1, 6), (), Reading())
    next(frames)
    next(frames)
    frames.close()
    assert [path.name[:10] for path in tmp_path.glob("*/*")] == ["2024-01-01"]
    # What was whole is not asked for again, what was not is.
    server.run("DELETE FROM sales WHERE id IN (1, 4);")
    again = pl.concat(list(staged.frames(days(1, 6), (), Reading())))
    assert again.equals(whole.filter(pl.col("id") != "4"))


def test_a_look_at_what_is_there_does_not_wait_for_a_server_that_is_down(
    postgres: Callable[..., DatabaseReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = postgres(table="sales", cursor="at", backoff=60)
    monkeypatch.setenv("SALES_DB", "postgresql://reader@127.0.0.1:1/postgres")
    with pytest.raises(SourceError, match=r"in 1 attempts: .*refused"):
        reader.there(days(1, 1))


def test_a_server_that_starts_again_is_waited_for(postgres: Callable[..., DatabaseReader], server: Server) -> None:
    reader = postgres(SALES.format(type="timestamp", stray="NULL"), table="sales", cursor="at", backoff=0.5)
    server.stop()
    starter = threading.Timer(0.3, server.start)
    starter.start()
    try:
        assert by_partition(read(reader, days(2, 2))) == {"02": ["4"]}
    finally:
        starter.join()


def test_a_value_of_sqlite_comes_as_it_is_whatever_its_column_was_declared_as(
    sqlite: Callable[..., DatabaseReader],
) -> None:
    reader = sqlite(
        """CREATE TABLE sales (at TEXT, n INTEGER, x REAL, b BLOB);
        INSERT INTO sales VALUES ('2024-01-01', 'three', 0.1, x'dead'), ('2024-01-01', 9223372036854775807, 'n/a', ''),
            ('2024-01-01', 1.5, 0.30000000000000004, NULL), ('2024-01-01', 2, CAST(x'ff41' AS TEXT), 'text');""",
        table="sales",
        cursor="at",
    )
    rows = read(reader, days(1, 1)).sort("n").select("n", "x", "b", "_malformed").rows()
    assert [row[:3] for row in rows] == [
        ("1.5", "0.30000000000000004", None),
        ("2", "ff41", "text"),
        ("9223372036854775807", "n/a", ""),
        ("three", "0.1", "dead"),
    ]
    assert [row[3] for row in rows] == [
        None,
        "column 'x': the text is not UTF-8; its bytes are given as hex",
        None,
        None,
    ]


def test_a_window_of_sqlite_takes_texts_and_numbers_by_their_own_type(sqlite: Callable[..., DatabaseReader]) -> None:
    values = [
        *("'2024-01-02'", "'2024-01-02 23:59:59.999'", "'2024-01-02T00:00:00Z'", "'2024-01-03T01:00:00+02:00'"),
        *("1704153600", "1704153600.5"),
        *("NULL", "''", "'soon'", "'2024-02-30'", "x'00'", "1e300", "9e999", "-1", "'2023-12'", "1704153600000"),
        *("'2024-01-03'", "'2024-01'"),
    ]
    inserted = ", ".join(f"({number}, {value})" for number, value in enumerate(values))
    reader = sqlite(f"CREATE TABLE sales (id, at); INSERT INTO sales VALUES {inserted};", table="sales", cursor="at")
    found = {day: sorted(map(int, ids)) for day, ids in by_partition(read(reader, days(1, 3))).items()}
    assert found == {"01": [*range(6, 16), 17], "02": [0, 1, 2, 3, 4, 5], "03": [16]}
    later = read(reader, days(2, 3))
    assert {day: sorted(map(int, ids)) for day, ids in by_partition(later).items()} == {
        "02": [0, 1, 2, 3, 4, 5],
        "03": [16],
    }
    assert reader.there(days(1, 5)) == days(1, 3)


@settings(max_examples=30, deadline=None)
@given(
    moments=st.lists(
        st.datetimes(datetime(2023, 12, 30), datetime(2024, 1, 8)),  # noqa: DTZ001 - naive of the zone
        max_size=20,
    ),
    zone=st.sampled_from(["UTC", "Pacific/Auckland", "America/St_Johns"]),
    first=st.integers(1, 4),
    count=st.integers(1, 3),
)
def test_every_row_of_sqlite_is_in_exactly_one_partition(
    tmp_path_factory: pytest.TempPathFactory, moments: list[datetime], zone: str, first: int, count: int
) -> None:
    path = tmp_path_factory.mktemp("sqlite") / "sales.sqlite"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE sales (id, at TEXT)")
    connection.execute("CREATE INDEX by_time ON sales (at)")
    rows = [(number, moment.isoformat(sep=" ")) for number, moment in enumerate(moments)]
    connection.executemany("INSERT INTO sales VALUES (?, ?)", rows)
    connection.commit()
    connection.close()
    reader = DatabaseReader("s", Sqlite(path, "s"), table="sales", cursor="at", first=FIRST, zone=zone)
    wanted: dict[str, set[str]] = {}
    for number, moment in enumerate(moments):
        utc = moment.replace(tzinfo=ZoneInfo(zone)).astimezone(dt.UTC).replace(tzinfo=None)
        day = (utc - FIRST).days + 1
        wanted.setdefault(f"{max(day, 1):02d}", set()).add(str(number))
    asked = {f"{day:02d}" for day in range(first, first + count)}
    found = read(reader, days(first, first + count - 1))
    assert {day: set(ids) for day, ids in (by_partition(found) if found.height else {}).items()} == {
        day: ids for day, ids in wanted.items() if day in asked
    }


def test_a_link_of_sqlite_out_of_the_data_folder_is_refused(tmp_path: Path) -> None:
    inside, outside = tmp_path / "data", tmp_path / "elsewhere.db"
    inside.mkdir()
    with closing(sqlite3.connect(outside)) as connection:
        connection.execute("CREATE TABLE sales (id)")
    (inside / "sales.db").symlink_to(outside)
    (inside / "own.db").symlink_to(inside / "real.db")
    shutil.copy(outside, inside / "real.db")

    def reader(name: str) -> DatabaseReader:
        return DatabaseReader(name, Sqlite(inside / name, name, inside), table="sales", order_by=("id",))

    with pytest.raises(SourceError, match=r"^sales.db: leads out of the data folder .*Remedy: put the file itself"):
        read(reader("sales.db"), days(1, 1))
    assert read(reader("own.db"), days(1, 1)).height == 0


def test_an_index_of_sqlite_serves_the_window(sqlite: Callable[..., DatabaseReader]) -> None:
    reader = sqlite(
        """CREATE TABLE sales (id INTEGER, at TEXT); CREATE INDEX by_time ON sales (at);
        WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 364)
        INSERT INTO sales SELECT i, date('2024-01-01', i || ' days') FROM n;""",
        table="sales",
        cursor="at",
    )
    asked: list[object] = []
    real = sqlite_module._moment
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_module, "_moment", lambda value, zone: asked.append(value) or real(value, zone))
        assert read(reader, days(100, 100))["id"].to_list() == ["99"]
    assert len(set(asked)) < 60


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"table": "salse", "cursor": "at"}, r"sales.sqlite has no table 'salse'; did you mean 'sales'\?"),
        ({"table": "sales", "cursor": "ta"}, "'ta' is missing"),
        ({"query": "SELECT nope FROM sales", "cursor": "at"}, "no such column: nope"),
        ({"query": "DELETE FROM sales RETURNING id, at", "cursor": "at"}, "syntax error"),
    ],
)
def test_what_is_wrong_with_a_declaration_of_sqlite_is_said(
    sqlite: Callable[..., DatabaseReader], more: dict[str, object], words: str
) -> None:
    reader = sqlite("CREATE TABLE sales (id, at);", **more)
    with pytest.raises(SourceError, match=words):
        read(reader, days(1, 1))


def test_a_file_that_is_no_sqlite_database_or_not_there_is_said(tmp_path: Path) -> None:
    reader = DatabaseReader("s", Sqlite(tmp_path / "a.db", "a.db"), table="sales", cursor="at", first=FIRST)
    with pytest.raises(SourceError, match=r"a\.db: there is no such file"):
        read(reader, days(1, 1))
    (tmp_path / "a.db").write_text("id,at\n1,2024-01-01\n" * 100)
    with pytest.raises(SourceError, match=r"a\.db: file is not a database"):
        read(reader, days(1, 1))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db"]
