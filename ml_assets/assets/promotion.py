"""`champion`: whether a challenger takes over, and why."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.assets.common import commit_of, data_origin, ledger, registration, registry, require_registered, spec
from ml_assets.assets.publishing import publish
from ml_assets.assets.rows import learnt_from, rows_held_out, training_rows
from ml_assets.core.evaluation import SIGNIFICANCE, Comparison, check_gate, compare, compared_by
from ml_assets.core.tasks import align, as_actual, title_of
from ml_assets.core.training import unfit
from ml_assets.lake.connection import Lake, table_exists
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.tables import PARTITION, window_of
from ml_assets.project import Project
from ml_assets.registry.ledger import Draft, Entry, current_champion, last_verdict, stages, waiting
from ml_assets.registry.models import RegistryError, TrainingSet, Version

if TYPE_CHECKING:
    import polars as pl

# Rows that are predicted at once to see how long it takes.
BULK = 1000
# How often, at least and at most, and for how long in all.
TIMES, SECONDS = (5, 10), 0.25


def build_champion(project: Project) -> dg.AssetsDefinition:
    """The asset `champion`."""

    @dg.multi_asset(
        name=f"{project.name}__champion",
        specs=[
            spec(
                project, "champion", "The version that serves. A challenger takes over only if it passes the gates and "
                "is better, by more than noise, on rows that neither has learnt from.",
                deps=["evaluation"], kinds=["scikitlearn"], partitioned=False,
            )
        ],
    )  # fmt: skip
    def champion(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult[Any]:
        version = registry().newest(project.name, context.run.run_id)
        book = ledger(lake.lake)
        entries = book.entries(project.name)
        # A version that a kill left without its entry in the ledger is a candidate like any other.
        while stages(entries).get(version.number, "candidate") == "candidate":
            champion = current_champion(entries)
            require_registered(entries, version)
            draft = judge(project, lake.lake, version, champion)
            verdict_on = partial(
                _unless_overtaken, project=project, lake=lake.lake, version=version, draft=draft, champion=champion
            )
            book.append(commit_of(context, project, "champion"), verdict_on)
            entries = book.entries(project.name)
        verdict = last_verdict(entries, version.number)
        if verdict is None:
            raise RegistryError(f"{project.name} version {version.number} has been judged, and no verdict is there")
        serving = current_champion(entries)
        context.log.info("version %d %s: %s", version.number, verdict.kind, verdict.reason)
        return dg.MaterializeResult(
            metadata={
                "challenger": version.number,
                "verdict": verdict.kind,
                "reason": verdict.reason,
                "champion": serving if serving is not None else "none",
                "evidence": dg.MetadataValue.json(verdict.facts),
                **publish(project, lake.lake, verdict),
                **({"to_do": how_to_approve(project.name, version.number)} if verdict.kind == "awaiting" else {}),
                **data_origin(project, lake.lake),
            },
            # Predictions use the champion of their time: a later one does not make them out of date (ADR 0005).
            data_version=dg.DataVersion("champion"),
        )

    return champion


def how_to_approve(project: str, number: int) -> str:
    """What a person does about a version that waits."""
    return f"ml-assets approve {project}@{number} --why WHY, or decline; or the job {project}_approve in Dagster"


def _unless_overtaken(
    entries: Sequence[Entry], *, project: Project, lake: Lake, version: Version, draft: Draft, champion: int | None
) -> list[Draft]:
    """The verdict, unless another was promoted, or this one judged, while it was being judged."""
    judged = stages(entries).get(version.number, "candidate") != "candidate"
    if judged or current_champion(entries) != champion:
        return []
    known = any(entry.kind == "registered" and entry.version == version.number for entry in entries)
    drafts = [] if known else [registration(version, "nobody knows: its training was killed")]
    if draft.kind == "rejected":
        return [*drafts, draft]
    if project.promotion.approval == "required":
        draft = replace(draft, kind="awaiting")
    older = waiting(entries)
    if older is not None:
        reason = f"version {version.number} has passed since and takes its place"
        drafts.append(Draft(project.name, "rejected", reason, {}, version=older, action="supersede"))
    return [*drafts, from_now_on(project, version, draft, entries, newest_predicted(project, lake))]


def newest_predicted(project: Project, lake: Lake) -> datetime | None:
    """The start of the newest partition that has predictions; asked under the writer lock it stays the newest."""
    with lake.reader() as cursor:
        table = project.table("predictions")
        if not table_exists(cursor, table):
            return None
        return cursor.execute(f"SELECT max({PARTITION}) FROM {table.path}").fetchall()[0][0]  # type: ignore[no-any-return]


def from_now_on(
    project: Project, version: Version, draft: Draft, entries: Sequence[Entry], predicted: datetime | None
) -> Draft:
    """A promotion serves from the first partition that is newer than its rows and than all that has its predictions.

    So a partition that another version has scored, or that was decided on, keeps its champion; and those before the
    present champion's keep theirs. Where rows were held out by chance, those of its own partition have not been learnt
    from: it serves from there.

    Args:
        project: the project.
        version: the version.
        draft: the verdict on it.
        entries: the project's ledger.
        predicted: see `newest_predicted`.
    """
    if draft.kind != "promoted":
        return draft
    through, by_chance = project.start_of(version.training_set.through), version.training_set.test_share > 0
    done = [project.start_of(entry.partition) for entry in entries if entry.kind == "decision"]
    # Predictions are written first, and decided on in a step of their own.
    done += [predicted] if predicted is not None else []
    served = [project.start_of(entry.partition) for entry in entries if entry.kind == "promoted" and entry.partition]
    starts = [through if by_chance else project.step(through, 1), *(project.step(start, 1) for start in done)]
    return replace(draft, partition=project.key_of(max([*starts, *served])))


def judge(project: Project, lake: Lake, version: Version, champion: int | None) -> Draft:
    """Whether a version is promoted, and why.

    Args:
        project: the project.
        lake: where its rows are.
        version: the challenger, evaluated.
        champion: the version that serves, or None.
    """
    stored = registry().evaluation(project.name, version.number)
    if stored is None:
        raise RegistryError(
            f"{project.name} version {version.number} has no evaluation. Remedy: materialize {project.name}/evaluation"
        )
    costs = measure_costs(project, lake, version)
    limits = {name: getattr(project.promotion, name) for name in costs}
    checked = [check_gate(name, limit, None, costs) for name, limit in limits.items() if limit is not None]
    gates = [*stored["gates"], *map(asdict, checked)]
    facts: dict[str, Any] = {
        "gates": gates,
        "test": stored["metrics"]["test"],
        "costs": costs,
        "decision": version.training_set.decision,
        "against": champion or 0,
    }
    failed = failed_gates(gates)
    if failed:
        passed, reason = False, failed
    elif champion is None:
        passed, reason = True, "the first version that passes the gates"
    else:
        passed, reason, comparison = _against(project, lake, version, champion)
        facts |= {"comparison": asdict(comparison)} if comparison else {}
    waived = "; ".join(gate["demand"] for gate in gates if gate.get("waiver"))
    if passed and waived:
        reason = f"{reason}; waived: {waived}"
    return Draft(project.name, "promoted" if passed else "rejected", reason, facts, version=version.number)


def failed_gates(gates: Sequence[Mapping[str, Any]]) -> str:
    """The gates that a version has not passed, in words; "" where it has passed all."""
    return "; ".join(
        f"gate {gate['demand']}: it "
        + ("is undefined on these rows" if gate["value"] is None else f"reached {gate['value']:.4g}")
        for gate in gates
        if not gate["passed"]
    )


def measure_costs(project: Project, lake: Lake, version: Version) -> dict[str, float]:
    """What it costs to use a version: `latency_ms` for one row, `bulk_ms` for 1,000 at once, `size_mb` of its file.

    Rows are some of the partitions held out, again and again where they are fewer. Times are the best of several:
    whatever else the machine does only makes them longer. The model is loaded, from polars to an array; no network and
    no SQL.
    """
    import polars as pl

    rows = _some_rows(lake, project, version.training_set)
    bulk = pl.concat([rows] * -(-BULK // max(rows.height, 1))).head(BULK)
    return {
        "latency_ms": _best_time(lambda: registry().predict(version, rows.head(1))),
        "bulk_ms": _best_time(lambda: registry().predict(version, bulk)),
        "size_mb": registry().size(version) / 1e6,
    }


def _some_rows(lake: Lake, project: Project, training_set: TrainingSet) -> "pl.DataFrame":
    """Up to `BULK` rows of the test's partitions, any: to measure times, the others need not be read."""
    keys = training_set.test
    window = window_of(project.table("features"), project.window(min(keys), max(keys)), training_set.snapshot)
    with lake.reader() as cursor:
        starts = [project.start_of(key) for key in keys]
        return cursor.execute(f"{window} AND list_contains(?, {PARTITION}) LIMIT {BULK}", [starts]).pl()


def _best_time(action: Callable[[], object]) -> float:
    """The shortest time of an action, in milliseconds: of five times at least, of ten at most, for a quarter second."""
    action()  # whatever is done once only does not count
    found: list[float] = []
    while len(found) < TIMES[0] or (len(found) < TIMES[1] and sum(found) < SECONDS):
        before = time.perf_counter()
        action()
        found.append(time.perf_counter() - before)
    return 1000 * min(found)


def _against(project: Project, lake: Lake, version: Version, champion: int) -> tuple[bool, str, Comparison | None]:
    """Whether a version is better than the champion on rows that neither has learnt from, and why."""
    if champion == version.number:
        raise RegistryError(f"{project.name} version {version.number} already serves")
    incumbent = registry().version(project.name, champion)
    # A champion whose files were exchanged for worse ones would make any challenger look better.
    require_registered(ledger(lake).entries(project.name), incumbent)
    if why := _incomparable(version, incumbent):
        return True, why, None
    rows = training_rows(lake, project, version.training_set)
    # Asked of all rows: one that is not there would count as corrected, and its place as seen.
    rows = rows.with_columns(learnt_from(lake, project, incumbent, rows).alias("_seen"))
    rows = rows_held_out(project, rows, version.training_set)
    # What the incumbent says of rows older than its own would be hindsight.
    rows = rows.filter(rows["_partition"] >= project.start_of(incumbent.training_set.train[-1]))
    rows = rows.filter(~rows["_seen"])
    if not rows.height:
        return False, f"there are no rows that neither it nor version {champion} has learnt from", None
    result = _compare(project, version, incumbent, rows)
    keys = [project.key_of(start) for start in rows["_partition"].unique().sort()]
    words = (
        f"{title_of(result.metric)} {result.challenger:.4g} against {result.champion:.4g} of version {champion} on "
        f"{result.rows} rows of {keys[0]} … {keys[-1]} that neither has learnt from, {chance(result.p_value)}"
    )
    wanted = project.promotion
    if result.rows < wanted.minimum_rows:
        return False, f"fewer than {wanted.minimum_rows} rows show nothing: {words}", result
    if result.better:
        return True, words, result
    if result.p_value < SIGNIFICANCE:
        return False, f"not better in each partition: {words}", result
    least = f"{wanted.minimum_gain:.2%} and " if wanted.minimum_gain else ""
    return False, f"not better by more than {least}noise: {words}", result


def _incomparable(version: Version, incumbent: Version) -> str:
    """Why a version that passes the gates takes over without being compared; "" where it can be.

    The incumbent answers another question (many classes may have become more or fewer), or it cannot score the rows.
    """
    same_task = version.task == incumbent.task
    if not same_task or (version.task == "binary" and version.classes != incumbent.classes):
        words = f"the first version that passes the gates as {version.task}"
        return f"{words}: version {incumbent.number} answers another question"
    # By what the version was trained on: the table keeps a column that the statement no longer returns.
    if why := unfit(incumbent.features, version.features):
        return f"the first version that passes the gates since: version {incumbent.number} {why}"
    return ""


def _compare(project: Project, version: Version, incumbent: Version, rows: "pl.DataFrame") -> Comparison:
    classes = list(version.classes)
    classes += [label for label in incumbent.classes if label not in classes]

    def predicted(one: Version) -> Any:
        found = registry().predict(one, rows)
        return align(found, one.classes, classes) if one.task == "multiclass" else found

    actual = as_actual(rows[project.target], version.task, classes)
    return compare(
        compared_by(project.watched, actual),
        actual,
        predicted(version),
        predicted(incumbent),
        partitions=rows["_partition"].to_physical().to_numpy(),
        minimum_gain=project.promotion.minimum_gain,
    )


def chance(p_value: float) -> str:
    """A p-value in words; none is zero, but it may be too small for a float."""
    return f"p = {p_value:.2g}" if p_value else "p < 1e-300"
