"""`champion`: whether a challenger takes over, and why."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import dagster as dg

from ml_assets.assets.common import commit_of, data_origin, ledger, registry, spec
from ml_assets.assets.publishing import publish
from ml_assets.assets.rows import learnt_from, rows_held_out, training_rows
from ml_assets.core.evaluation import Comparison, compare
from ml_assets.core.tasks import align, as_actual, title_of
from ml_assets.lake.connection import Lake
from ml_assets.lake.resource import LakeResource
from ml_assets.project import Project
from ml_assets.registry.ledger import Draft, Entry, current_champion, stages
from ml_assets.registry.models import RegistryError, Version

if TYPE_CHECKING:
    import polars as pl


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
            draft = judge(project, lake.lake, version, champion)
            verdict_on = partial(_unless_overtaken, project, version, draft, champion)
            book.append(commit_of(context, project, "champion"), verdict_on)
            entries = book.entries(project.name)
        verdict = next(
            entry
            for entry in reversed(entries)
            if entry.version == version.number and entry.kind in {"promoted", "rejected"}
        )
        serving = current_champion(entries)
        context.log.info("version %d %s: %s", version.number, verdict.kind, verdict.reason)
        return dg.MaterializeResult(
            metadata={
                "challenger": version.number,
                "verdict": verdict.kind,
                "reason": verdict.reason,
                "champion": serving if serving is not None else "none",
                "evidence": dg.MetadataValue.json(verdict.facts),
                **publish(project, lake.lake, version),
                **data_origin(project, lake.lake),
            },
            # Predictions use the champion of their time: a later one does not make them out of date (ADR 0005).
            data_version=dg.DataVersion("champion"),
        )

    return champion


def _unless_overtaken(
    project: Project, version: Version, draft: Draft, champion: int | None, entries: Sequence[Entry]
) -> list[Draft]:
    """The verdict, unless another was promoted, or this one judged, while it was being judged."""
    judged = stages(entries).get(version.number, "candidate") != "candidate"
    if judged or current_champion(entries) != champion:
        return []
    return [_from_now_on(project, version, draft, entries)]


def _from_now_on(project: Project, version: Version, draft: Draft, entries: Sequence[Entry]) -> Draft:
    """A promotion serves from the first partition that is newer than its rows and than all that was decided already.

    So a partition that another version has scored and that was decided on keeps its champion. Where rows were held out
    by chance, those of its own partition have not been learnt from: it serves from there.
    """
    if draft.kind != "promoted":
        return draft
    through, by_chance = project.start_of(version.training_set.through), version.training_set.test_share > 0
    decided = [project.start_of(entry.partition) for entry in entries if entry.kind == "decision"]
    starts = [through if by_chance else project.step(through, 1), *(project.step(start, 1) for start in decided)]
    return replace(draft, partition=project.key_of(max(starts)))


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
    failed = [gate for gate in stored["gates"] if not gate["passed"]]
    facts: dict[str, Any] = {
        "gates": stored["gates"],
        "test": stored["metrics"]["test"],
        "decision": version.training_set.decision,
    }
    if failed:
        reason = "; ".join(
            f"gate {gate['demand']}: it "
            + ("is undefined on these rows" if gate["value"] is None else f"reached {gate['value']:.4g}")
            for gate in failed
        )
        return Draft(project.name, "rejected", reason, facts, version=version.number)
    if champion is None:
        reason = "the first version that passes the gates"
        return Draft(project.name, "promoted", reason, facts, version=version.number)
    if champion == version.number:
        raise RegistryError(f"{project.name} version {version.number} already serves")
    incumbent = registry().version(project.name, champion)
    if not _comparable(version, incumbent):
        reason = (
            f"the first version that passes the gates as {version.task}: version {champion} answers another question"
        )
        return Draft(project.name, "promoted", reason, facts, version=version.number)
    rows = rows_held_out(project, training_rows(lake, project, version.training_set), version.training_set)
    # What the incumbent says of rows older than its own would be hindsight.
    rows = rows.filter(rows["_partition"] >= project.start_of(incumbent.training_set.train[-1]))
    rows = rows.filter(~learnt_from(lake, project, incumbent, rows))
    if not rows.height:
        reason = f"there are no rows that neither it nor version {champion} has learnt from"
        return Draft(project.name, "rejected", reason, facts, version=version.number)
    result = _compare(project, version, incumbent, rows)
    keys = [project.key_of(start) for start in rows["_partition"].unique().sort()]
    facts["comparison"] = asdict(result)
    name = title_of(result.metric)
    words = (
        f"{name} {result.challenger:.4g} against {result.champion:.4g} of version {champion} on {result.rows} rows of "
        f"{keys[0]} … {keys[-1]} that neither has learnt from, {chance(result.p_value)}"
    )
    if result.better:
        return Draft(project.name, "promoted", words, facts, version=version.number)
    return Draft(project.name, "rejected", f"not better by more than noise: {words}", facts, version=version.number)


def _comparable(version: Version, other: Version) -> bool:
    """Whether two versions predict the same thing: many classes may have become more or fewer."""
    return version.task == other.task and (version.task != "binary" or version.classes == other.classes)


def _compare(project: Project, version: Version, incumbent: Version, rows: "pl.DataFrame") -> Comparison:
    classes = list(version.classes)
    classes += [label for label in incumbent.classes if label not in classes]

    def predicted(one: Version) -> Any:
        found = registry().predict(one, rows)
        return align(found, one.classes, classes) if one.task == "multiclass" else found

    actual = as_actual(rows[project.target], version.task, classes)
    return compare(project.watched, actual, predicted(version), predicted(incumbent))


def chance(p_value: float) -> str:
    """A p-value in words; none is zero, but it may be too small for a float."""
    return f"p = {p_value:.2g}" if p_value else "p < 1e-300"
