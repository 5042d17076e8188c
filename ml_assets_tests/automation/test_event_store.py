from __future__ import annotations

import multiprocessing
import sqlite3
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from dagster._core.events import StepMaterializationData
from dagster._core.storage.event_log import SqliteEventLogStorage

from ml_assets.automation.event_store import BatchedSqliteEventLogStorage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from dagster._core.events.log import EventLogEntry

# `@asset(backfill_policy=)` is beta in the pinned Dagster: the project uses it, and the pin keeps it as it is.
pytestmark = pytest.mark.filterwarnings("ignore:Parameter `backfill_policy`:dagster.BetaWarning")

FIRST, LAST, COUNT = "2024-01-01", "2024-01-08", 8
RUN_ID = "00000000-0000-4000-8000-00000000000a"
ASSETS = ("raw", "features", "profile")
DAYS = dg.DailyPartitionsDefinition(FIRST, end_date="2024-02-01")


def _partitioned(name: str, upstream: list[str], *, checked: bool) -> dg.AssetsDefinition:
    """An asset of one run per range, as the platform builds them: metadata and data version for each partition."""

    @dg.asset(
        name=name,
        partitions_def=DAYS,
        deps=upstream,
        code_version="1",
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool="lake",
        check_specs=[dg.AssetCheckSpec("rows", asset=name), dg.AssetCheckSpec("nulls", asset=name)]
        if checked
        else None,
    )
    def asset() -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster knows it only without an argument
        context = dg.AssetExecutionContext.get()  # an annotated parameter fails with postponed annotations
        for position, key in enumerate(context.partition_keys):
            context.add_asset_metadata({"dagster/partition_row_count": position}, asset_key=name, partition_key=key)
        checks = [
            dg.AssetCheckResult(asset_key=name, check_name="rows", passed=True, metadata={"rows": 190}),
            dg.AssetCheckResult(asset_key=name, check_name="nulls", passed=False, severity=dg.AssetCheckSeverity.WARN),
        ]
        return dg.MaterializeResult(data_version=dg.DataVersion("7"), check_results=checks if checked else [])

    return asset


def _definitions() -> dg.Definitions:
    @dg.asset(deps=["profile"])
    def model() -> None:
        pass

    @dg.asset(deps=["raw"], partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
    def broken() -> None:
        raise ValueError("broken on purpose")

    partitioned = [
        _partitioned("raw", [], checked=True),
        _partitioned("features", ["raw"], checked=False),
        _partitioned("profile", ["features"], checked=True),
    ]
    jobs = [
        dg.define_asset_job("refresh", selection=[*ASSETS, "broken"]),
        dg.define_asset_job("retrain", selection=["model"]),
    ]
    return dg.Definitions(assets=[*partitioned, model, broken], jobs=jobs)


@contextmanager
def _instance(home: Path, store: type[SqliteEventLogStorage]) -> Iterator[dg.DagsterInstance]:
    home.mkdir(exist_ok=True)
    storage = {"module": store.__module__, "class": store.__name__, "config": {"base_dir": str(home / "events")}}
    (home / "dagster.yaml").write_text(yaml.safe_dump({"telemetry": {"enabled": False}, "event_log_storage": storage}))
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


def _refresh(instance: dg.DagsterInstance, run_id: str = RUN_ID) -> None:
    tags = {"dagster/asset_partition_range_start": FIRST, "dagster/asset_partition_range_end": LAST}
    job = _definitions().resolve_job_def("refresh")
    job.execute_in_process(instance=instance, run_id=run_id, tags=tags, raise_on_error=False)


@dataclass(frozen=True)
class Written:
    """An instance that ran what every store is made to run, with the same run ids, and where its events are."""

    instance: dg.DagsterInstance
    events: Path


@contextmanager
def _written(home: Path, store: type[SqliteEventLogStorage], batch_size: int) -> Iterator[Written]:
    with _instance(home, store) as instance, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_EVENT_BATCH_SIZE", str(batch_size))
        instance.event_log_storage.set_concurrency_slots("lake", 1)
        instance.add_dynamic_partitions("customers", ["a", "b"])
        _refresh(instance)
        _refresh(instance, RUN_ID.replace("a", "b"))  # the same partitions again: rows that are updated
        retrain = _definitions().resolve_job_def("retrain")
        retrain.execute_in_process(instance=instance, run_id=RUN_ID.replace("a", "c"))
        instance.report_runless_asset_event(dg.AssetMaterialization("imported", partition=FIRST))
        yield Written(instance, home / "events")


@pytest.fixture(scope="module")
def stock_written(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    with _written(tmp_path_factory.mktemp("stock"), SqliteEventLogStorage, batch_size=0) as written:
        yield written


@pytest.fixture(scope="module", params=[500, 3], ids=["one batch for each asset", "many batches for each asset"])
def our_written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    with _written(tmp_path_factory.mktemp("ours"), BatchedSqliteEventLogStorage, request.param) as written:
        yield written


@dataclass(frozen=True)
class Scenario:
    """The same history, as the stock store holds it and as ours does."""

    stock: dg.DagsterInstance
    ours: dg.DagsterInstance
    stock_events: Path
    our_events: Path


@pytest.fixture
def scenario(stock_written: Written, our_written: Written) -> Scenario:
    return Scenario(stock_written.instance, our_written.instance, stock_written.events, our_written.events)


def _rows(database: Path, *, without: set[str]) -> dict[str, list[dict[str, Any]]]:
    """All tables of a database, without some columns."""
    with closing(sqlite3.connect(database)) as connection:
        connection.row_factory = sqlite3.Row
        names = [row["name"] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = {name: connection.execute(f'SELECT * FROM "{name}" ORDER BY 1').fetchall() for name in names}
    return {name: [{k: row[k] for k in row.keys() if k not in without} for row in rows[name]] for name in names}  # noqa: SIM118 - a Row is no dict


MADE = {"create_timestamp", "update_timestamp", "migration_completed"}
"""Columns that SQLite fills with the time of the insert."""

TIMED = MADE | {"timestamp", "event_timestamp", "last_materialization_timestamp", "evaluation_event_timestamp"}
TIMED |= {"event", "evaluation_event", "last_materialization"}
"""Columns that hold the time of an event, directly or within the serialized event."""


def test_every_table_of_the_index_and_of_the_runs_holds_the_same_rows(scenario: Scenario) -> None:
    databases = sorted(path.name for path in scenario.stock_events.glob("*.db"))
    assert databases == sorted(path.name for path in scenario.our_events.glob("*.db"))
    assert len(databases) == 4 + 1  # three runs, the runless shard, the index
    for database in databases:
        assert _rows(scenario.our_events / database, without=TIMED) == _rows(
            scenario.stock_events / database, without=TIMED
        )

    index = _rows(scenario.our_events / "index.db", without=TIMED)
    for table in ("event_logs", "asset_keys", "asset_event_tags", "asset_check_executions", "dynamic_partitions"):
        assert index[table], f"nothing to compare in {table}"


def test_a_run_shows_the_same_events_in_the_same_order(scenario: Scenario) -> None:
    def events(instance: dg.DagsterInstance, run_id: str) -> list[Any]:
        entries = [entry for entry in instance.all_logs(run_id) if entry.is_dagster_event]
        facts = [(entry, entry.get_dagster_event()) for entry in entries]
        return [(e.event_type_value, e.step_key, e.asset_key, e.partition, entry.level) for entry, e in facts]

    for run_id in (RUN_ID, RUN_ID.replace("a", "b"), RUN_ID.replace("a", "c")):
        assert events(scenario.ours, run_id) == events(scenario.stock, run_id)
    types = [event[0] for event in events(scenario.ours, RUN_ID)]
    assert types.count("ASSET_MATERIALIZATION") == COUNT * len(ASSETS)
    assert types.count("ASSET_CHECK_EVALUATION") == 2 * 2
    assert types.count("STEP_FAILURE") == 1


def test_the_cursors_of_a_run_stop_at_the_same_events(scenario: Scenario) -> None:
    def pages(instance: dg.DagsterInstance) -> list[Any]:
        found, cursor, has_more = [], None, True
        while has_more:
            page = instance.get_records_for_run(RUN_ID, cursor=cursor, limit=13)
            found.append((page.cursor, [record.storage_id for record in page.records]))
            cursor, has_more = page.cursor, page.has_more
        return found

    assert pages(scenario.ours) == pages(scenario.stock)


def test_materializations_by_partition_carry_the_same_ids_metadata_and_tags(scenario: Scenario) -> None:
    def records(instance: dg.DagsterInstance, key: str) -> list[Any]:
        found = instance.fetch_materializations(dg.AssetKey(key), limit=1000, ascending=True).records
        facts = [(record, record.asset_materialization) for record in found]
        return [(r.storage_id, r.run_id, m.partition, m.metadata, m.tags) for r, m in facts if m]

    for key in (*ASSETS, "model", "imported"):
        assert records(scenario.ours, key) == records(scenario.stock, key)
    *_, last = records(scenario.ours, "raw")
    assert last[2] == LAST
    assert last[3]["dagster/partition_row_count"] == dg.MetadataValue.int(COUNT - 1)
    assert last[4]["dagster/data_version"] == "7"


def test_a_sensor_reads_on_from_the_same_place(scenario: Scenario) -> None:
    def after(instance: dg.DagsterInstance, storage_id: int) -> list[Any]:
        found, cursor, has_more = [], None, True
        while has_more:
            chosen = dg.AssetRecordsFilter(asset_key=dg.AssetKey("profile"), after_storage_id=storage_id)
            page = instance.fetch_materializations(chosen, limit=5, cursor=cursor, ascending=True)
            found += [(record.storage_id, record.partition_key) for record in page.records]
            cursor, has_more = page.cursor, page.has_more
        return found

    everything = after(scenario.stock, 0)
    assert len(everything) == 2 * COUNT
    for storage_id in (0, everything[5][0], everything[COUNT + 2][0]):
        assert after(scenario.ours, storage_id) == after(scenario.stock, storage_id)


def test_assets_show_the_same_latest_materialization_and_partitions(scenario: Scenario) -> None:
    def summary(instance: dg.DagsterInstance, key: str) -> Any:
        (record,) = instance.get_asset_records([dg.AssetKey(key)])
        entry = record.asset_entry
        latest = entry.last_materialization_record
        assert latest
        counts = instance.get_materialized_partitions(dg.AssetKey(key))
        return entry.last_run_id, latest.storage_id, latest.partition_key, counts

    for key in (*ASSETS, "model", "imported"):
        assert summary(scenario.ours, key) == summary(scenario.stock, key)
    assert summary(scenario.ours, "raw")[0] == RUN_ID.replace("a", "b")
    assert len(summary(scenario.ours, "raw")[3]) == COUNT
    assert scenario.ours.get_asset_keys() == scenario.stock.get_asset_keys()


def test_asset_checks_have_the_same_history(scenario: Scenario) -> None:
    def history(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> list[Any]:
        records = instance.event_log_storage.get_asset_check_execution_history(check, limit=100)
        return [(r.id, r.run_id, r.status, r.partition, *_evaluated(r.evaluation)) for r in records]

    for asset in ("raw", "profile"):
        for name, passed in (("rows", True), ("nulls", False)):
            check = dg.AssetCheckKey(dg.AssetKey(asset), name)
            ours = history(scenario.ours, check)
            assert ours == history(scenario.stock, check)
            assert [row[4] for row in ours if len(row) > 4] == [passed, passed]  # one for each run


def _evaluated(evaluation: Any) -> tuple[Any, ...]:
    if not isinstance(evaluation, dg.AssetCheckEvaluation):  # planned, whatever Dagster's annotation says
        return ()
    target = evaluation.target_materialization_data
    return evaluation.passed, evaluation.severity, evaluation.metadata, target and target.storage_id


def test_one_batch_of_every_kind_of_event_leaves_exactly_the_rows_of_the_stock_store(
    stock_written: Written, tmp_path: Path
) -> None:
    first = stock_written.instance.all_logs(RUN_ID)
    second = stock_written.instance.all_logs(
        RUN_ID.replace("a", "b"), of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED
    )
    events = [*first, *second]  # the asset's last run is the one that only plans, its last materialization the first's
    ours, stock = BatchedSqliteEventLogStorage(str(tmp_path / "ours")), SqliteEventLogStorage(str(tmp_path / "stock"))

    ours.store_event_batch(events)
    for event in events:
        stock.store_event(event)

    assert len({event.dagster_event_type for event in events}) > 10
    for database in ("index.db", f"{RUN_ID}.db", f"{RUN_ID.replace('a', 'b')}.db"):
        assert _rows(tmp_path / "ours" / database, without=MADE) == _rows(tmp_path / "stock" / database, without=MADE)


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "500")
    with _instance(tmp_path, BatchedSqliteEventLogStorage) as instance:
        yield instance


@contextmanager
def _commits(failing: Mapping[str, int] | None = None) -> Iterator[list[str]]:
    """Record the database of every commit, and fail the n-th commit of the databases named."""
    committed: list[str] = []
    remaining = dict(failing or {})

    def on_commit(connection: sa.Connection) -> None:
        database = str(connection.engine.url.database).rpartition("/")[2].removesuffix(".db")
        if database in remaining:
            remaining[database] -= 1
            if remaining.pop(database) == 0:
                raise OSError(f"{database}: no space left on device")
        committed.append(database)

    sa.event.listen(sa.Engine, "commit", on_commit)
    try:
        yield committed
    finally:
        sa.event.remove(sa.Engine, "commit", on_commit)


@contextmanager
def _failing_insert() -> Iterator[None]:
    """Fail the eleventh insert: in a batch of materializations, the sixth event, in its run."""
    inserts = iter(range(11))

    def on_execute(_: sa.Connection, __: object, statement: str, *___: object) -> None:
        if statement.startswith("INSERT INTO event_logs") and next(inserts) == 10:
            raise OSError("database disk image is malformed")

    sa.event.listen(sa.Engine, "before_cursor_execute", on_execute)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", on_execute)


def _materializations(run_id: str, count: int = 20, asset: str = "raw") -> list[EventLogEntry]:
    """Events as a step writes them, without running one."""
    step = {"event_type_value": "ASSET_MATERIALIZATION", "job_name": "refresh", "step_key": asset}
    data = [
        StepMaterializationData(dg.AssetMaterialization(asset, partition=key))
        for key in DAYS.get_partition_keys()[:count]
    ]
    events = [dg.DagsterEvent(**step, event_specific_data=each) for each in data]  # type: ignore[arg-type]
    common = {"error_info": None, "level": 10, "user_message": "", "run_id": run_id, "timestamp": time.time()}
    return [dg.EventLogEntry(**common, step_key=asset, dagster_event=event) for event in events]  # type: ignore[no-untyped-call]


def _counts(instance: dg.DagsterInstance, run_id: str, asset: str = "raw") -> tuple[int, int]:
    """Materializations in the run's log, and in the index."""
    in_run = instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    records = instance.fetch_materializations(dg.AssetKey(asset), limit=1000).records
    mine = [entry for entry in in_run if entry.get_dagster_event().asset_key == dg.AssetKey(asset)]
    return len(mine), len([record for record in records if record.run_id == run_id])


def test_a_batch_is_one_transaction_on_the_index_and_then_one_on_the_run(instance: dg.DagsterInstance) -> None:
    first, *others = _materializations("run")
    instance.event_log_storage.store_event(first)  # makes the run's database

    with _commits() as committed:
        instance.event_log_storage.store_event_batch(others)

    assert committed == ["index", "run"]
    assert _counts(instance, "run") == (20, 20)


def test_a_failing_commit_of_the_index_leaves_nothing_of_the_batch(instance: dg.DagsterInstance) -> None:
    first, *others = _materializations("run")
    instance.event_log_storage.store_event(first)

    with _commits(failing={"index": 1}), pytest.raises(OSError, match="index: no space left"):
        instance.event_log_storage.store_event_batch(others)

    assert _counts(instance, "run") == (1, 1)


def test_a_failure_in_the_middle_leaves_nothing_of_the_batch(instance: dg.DagsterInstance) -> None:
    first, *others = _materializations("run")
    instance.event_log_storage.store_event(first)

    with _failing_insert(), pytest.raises(OSError, match="database disk image is malformed"):
        instance.event_log_storage.store_event_batch(others)
    assert _counts(instance, "run") == (1, 1)

    instance.event_log_storage.store_event_batch(others)  # the store goes on as before
    assert _counts(instance, "run") == (20, 20)


def test_a_run_whose_index_fails_once_has_every_event_once(
    instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store_batch = BatchedSqliteEventLogStorage.store_event_batch

    def failing_once(store: BatchedSqliteEventLogStorage, events: list[EventLogEntry]) -> None:
        monkeypatch.setattr(BatchedSqliteEventLogStorage, "store_event_batch", store_batch)
        with _commits(failing={"index": 1}):
            store_batch(store, events)

    monkeypatch.setattr(BatchedSqliteEventLogStorage, "store_event_batch", failing_once)
    _refresh(instance)

    assert "Falling back to storing multiple single-event storage requests" in capsys.readouterr().err
    for asset in ASSETS:
        assert _counts(instance, RUN_ID, asset) == (COUNT, COUNT)
    planned = instance.all_logs(RUN_ID, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED)
    assert len(planned) == COUNT * (len(ASSETS) + 1)


def test_the_database_is_asked_once_whether_a_table_exists(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(_: SqliteEventLogStorage, table_name: str) -> bool:
        asked.append(table_name)
        return len(asked) > 1  # as if a migration made it after the first question

    monkeypatch.setattr(SqliteEventLogStorage, "has_table", answer)
    store = instance.event_log_storage
    assert isinstance(store, BatchedSqliteEventLogStorage)

    assert [store.has_table("added_later") for _ in range(4)] == [False, True, True, True]
    assert asked == ["added_later", "added_later"]


def test_other_processes_build_the_same_store_from_the_instance(instance: dg.DagsterInstance) -> None:
    with dg.DagsterInstance.from_ref(instance.get_ref()) as other:
        assert isinstance(other.event_log_storage, BatchedSqliteEventLogStorage)
        assert isinstance(instance.event_log_storage, BatchedSqliteEventLogStorage)
        assert other.event_log_storage.inst_data == instance.event_log_storage.inst_data


def test_threads_that_write_two_runs_at_once_both_succeed(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = instance.event_log_storage
    assert isinstance(store, BatchedSqliteEventLogStorage)
    first_is_storing = threading.Event()
    prepare = store.prepare_insert_event

    def slowly(event: EventLogEntry) -> Any:
        first_is_storing.set()
        time.sleep(0.01)
        return prepare(event)

    monkeypatch.setattr(store, "prepare_insert_event", slowly)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(store.store_event_batch, _materializations("first"))
        assert first_is_storing.wait(10)
        second = pool.submit(store.store_event_batch, _materializations("second"))
        for stored in (first, second):
            stored.result()

    assert _counts(instance, "first") == _counts(instance, "second") == (20, 20)


def _write_in_a_process(home: Path, run_id: str) -> None:
    with dg.DagsterInstance.from_config(str(home)) as instance:
        for _ in range(20):
            instance.event_log_storage.store_event_batch(_materializations(run_id))


def test_processes_that_write_two_runs_at_once_both_succeed(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as pool:
        list(pool.map(_write_in_a_process, [tmp_path, tmp_path], ["first", "second"]))

    assert _counts(instance, "first") == _counts(instance, "second") == (400, 400)
