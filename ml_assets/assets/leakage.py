"""The leakage gate: before a model is trained, whether its rows show what will not be known when it predicts.

Blocking checks of `training_set`. What they find is kept with the training set, so that `model` refuses it in any run,
and from there stands in the record of the version; a waiver, with its reason, stands in the ledger too.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb

from ml_assets.assets.common import asset_key, run_sql
from ml_assets.assets.features import current_kinds
from ml_assets.assets.references import read_references
from ml_assets.assets.validated import judge_rows
from ml_assets.checking import trace_project
from ml_assets.core.leakage import (
    Finding,
    as_known_at,
    by_numbers,
    changed_features,
    cuts_of,
    moments_of,
)
from ml_assets.core.statement import is_row_wise
from ml_assets.lake.connection import Lake
from ml_assets.lake.tables import LINEAGE, described, read
from ml_assets.project import Project
from ml_assets.registry.models import TrainingSet

if TYPE_CHECKING:
    import polars as pl

WAYS = {
    "no_leak_by_lineage": "No feature is computed from the target, from what it is computed from, or from a column "
    "that is declared unknown at prediction: read off clean.sql and features.sql.",
    "no_leak_by_clock": "Features are the same when all later rows are deleted, and what is not yet known is hidden.",
    "no_leak_by_numbers": "No feature alone tells the target or names rows, and no test row is a training row.",
}
# Rows of one partition that are computed again: look-ahead within them shows as well as within all.
ROWS = 10_000


class LeakageError(Exception):
    """The leakage gate has refused the rows of a training set."""


@dataclass(frozen=True)
class Leaks:
    """What the gate found.

    Attributes:
        found: check → its findings.
        reasons: finding → why it is let pass.
        facts: check → what was looked at, and how long it took.
    """

    found: Mapping[str, Sequence[Finding]]
    reasons: Mapping[str, str]
    facts: Mapping[str, Mapping[str, Any]]

    @property
    def findings(self) -> list[Finding]:
        """All of them."""
        return [finding for findings in self.found.values() for finding in findings]

    @property
    def blocking(self) -> list[Finding]:
        """Those that nobody waives."""
        return [finding for finding in self.findings if finding.name not in self.reasons]

    @property
    def record(self) -> tuple[dict[str, str], ...]:
        """What stays with the training set and in the version's record."""
        return tuple(
            {"name": each.name, "words": each.words, "place": each.place, "waived": self.reasons.get(each.name, "")}
            for each in self.findings
        )

    def results(self, project: Project) -> Iterator[dg.AssetCheckResult]:
        """One result for each check."""
        for check, findings in self.found.items():
            blocking = [finding for finding in findings if finding.name not in self.reasons]
            metadata: dict[str, Any] = {"findings": len(findings), "waived": len(findings) - len(blocking)}
            if findings:
                metadata["found"] = dg.MetadataValue.md(self._as_table(findings))
            words = "\n".join(map(str, blocking)) or WAYS[check]
            yield dg.AssetCheckResult(
                check_name=check,
                asset_key=asset_key(project, "training_set"),
                passed=not blocking,
                severity=dg.AssetCheckSeverity.ERROR,
                description=words,
                metadata=metadata | dict(self.facts[check]),
            )

    def _as_table(self, findings: Sequence[Finding]) -> str:
        lines = ["| finding | what | where | remedy | waived |", "|---|---|---|---|---|"]
        for each in findings:
            cells = (each.name, each.words, each.place, each.remedy, self.reasons.get(each.name, "no"))
            # What stands in the SQL or a file must not become a picture or a link on somebody's screen.
            shown = (cell.replace("|", "\\|").replace("`", "'").replace("\n", " ") for cell in cells)
            lines.append("| " + " | ".join(f"`{cell}`" if cell else "" for cell in shown) + " |")
        return "\n".join(lines)


def leakage_checks(project: Project) -> list[dg.AssetCheckSpec]:
    """The checks of `training_set`: what fails blocks `model`."""
    key = asset_key(project, "training_set")
    return [dg.AssetCheckSpec(name, asset=key, blocking=True, description=words) for name, words in WAYS.items()]


def look_for_leakage(
    project: Project, lake: Lake, chosen: TrainingSet, train: "pl.DataFrame", test: "pl.DataFrame"
) -> Leaks:
    """Look for leakage in the rows of a training set.

    Args:
        project: the project.
        lake: where its rows are.
        chosen: the training set; `validated` and `raw` are read as its snapshot saw them.
        train: the rows to learn from.
        test: the rows held out.
    """
    found: dict[str, Sequence[Finding]] = {}
    facts: dict[str, dict[str, Any]] = {}
    began = perf_counter()
    with lake.reader() as cursor:
        columns = described(cursor, project.table("validated"), chosen.snapshot)
        traced = trace_project(project, columns)
        by_lineage, by_clock, numbers = WAYS
        found[by_lineage] = traced.findings
        facts[by_lineage] = {"seconds": perf_counter() - began, "not_known": ", ".join(sorted(traced.hidden))}

        began = perf_counter()
        kinds = current_kinds(cursor, project)
        sides = sorted({*chosen.train, *chosen.test}, key=project.start_of)
        clock = _Clock(cursor, project, chosen.snapshot, traced.hidden)
        # A leak is told once: what lineage blocks is not looked at again. What is waived may leak in another way.
        reasons = project.leakage.reasons
        blocked = {feature for feature, finding in traced.accused.items() if finding not in reasons}
        judged = [name for name in kinds if name not in blocked]
        found[by_clock] = clock.findings(_sample(sides), judged, shown=set(traced.accused))
        facts[by_clock] = {"seconds": perf_counter() - began, **clock.facts}

    began = perf_counter()
    ahead = {finding.name.partition(":")[2] for finding in found[by_clock] if finding.name not in reasons}
    spared = {*blocked, *ahead, *traced.older}
    found[numbers] = by_numbers(
        train, test, kinds, target=project.target, task=project.task, spared=spared, waived=reasons
    )
    facts[numbers] = {"seconds": perf_counter() - began, "rows": train.height + test.height}
    return Leaks(found, reasons, facts)


def refuse_leakage(project: Project, training_set: TrainingSet) -> None:
    """Refuse a training set in which the gate has found what nobody waives.

    Raises:
        LeakageError: naming what was found.
    """
    refused = [each for each in training_set.leakage if not each["waived"]]
    if refused:
        listed = "; ".join(f"{each['name']}: {each['words']}" for each in refused)
        raise LeakageError(
            f"{project.name}: the leakage gate has refused this training set: {listed}. Remedy: mend it, or waive it "
            f"with a reason (leakage.waivers), and materialize {project.name}/training_set again"
        )


def _sample(keys: Sequence[str]) -> list[str]:
    """The first, the middle and the last of some partitions."""
    return list(dict.fromkeys((keys[0], keys[len(keys) // 2], keys[-1])))


class _Clock:
    """Computes features again from what was known at some moments, by the very functions that the assets use."""

    def __init__(
        self, cursor: duckdb.DuckDBPyConnection, project: Project, snapshot: int, hidden: frozenset[str]
    ) -> None:
        self._cursor = cursor
        self._project = project
        self._snapshot = snapshot
        self._hidden = hidden
        self._references = read_references(cursor, project)
        # A clean.sql that makes each row of one raw row alone gives the same rows whatever is deleted.
        self._clean = not is_row_wise(project.clean_sql, table="raw", where=project.clean_path, kept=LINEAGE)
        self.facts: dict[str, Any] = {}

    def findings(self, keys: Sequence[str], names: Sequence[str], shown: Collection[str]) -> list[Finding]:
        """The features, among some, that are others when computed from what was known at a moment.

        Each partition is cut at a quarter, a half and three quarters of its moments. Where one differs, it is computed
        again with nothing hidden, and a second time from the same rows, to tell why.

        Args:
            keys: the partitions.
            names: the features.
            shown: those of them of which lineage has shown that they hold what is hidden: they may not look ahead.
        """
        import polars as pl

        parts = [(rows, moments) for key in keys for rows, moments in [self._part(key)] if cuts_of(moments)]
        self.facts = {"partitions": ", ".join(keys), "rows": sum(rows.height for rows, _ in parts), "cuts": 0}
        if not parts or not names:
            return []
        whole = pl.concat([rows for rows, _ in parts])
        before = self._features(whole)
        cuts = list(dict.fromkeys(zip(*(cuts_of(moments) for _, moments in parts), strict=True)))
        found: dict[str, Finding] = {}
        for cut in cuts:
            self.facts["cuts"] += 1
            left = [name for name in names if name not in found]
            after = self._features(self._known(parts, cut, self._hidden))
            changed = changed_features(before, after, left)
            if changed:
                again = changed_features(before, self._features(whole), list(changed))
                ahead = changed_features(before, self._features(self._known(parts, cut, ())), list(changed))
                found |= {
                    name: self._finding(name, place, in_order=name not in again, ahead=name in ahead)
                    for name, place in changed.items()
                    if name in ahead or name not in shown
                }
        return list(found.values())

    def _part(self, key: str) -> "tuple[pl.DataFrame, pl.Series]":
        """The rows of `validated` in a partition, and when each came to be."""
        project, window = self._project, self._project.window(key, key)
        rows = read(self._cursor, project.table("validated"), window, self._snapshot)
        time, ordered = project.partitions.time or None, project.partitions.grain == "block"
        if time:
            rows = rows.sort(time, maintain_order=True, nulls_last=True)
        rows = rows.head(ROWS)
        return rows, moments_of(rows, time, ordered=ordered)

    def _known(
        self,
        parts: "Sequence[tuple[pl.DataFrame, pl.Series]]",
        cut: Sequence[Any],
        hidden: Collection[str],
    ) -> "pl.DataFrame":
        import polars as pl

        known = [as_known_at(rows, moments, at, hidden) for (rows, moments), at in zip(parts, cut, strict=True)]
        return pl.concat(known)

    def _features(self, validated: "pl.DataFrame") -> "pl.DataFrame":
        """The features of rows of `validated`; where clean.sql reads several rows, they are cleaned again first."""
        project = self._project
        if self._clean:
            validated = self._cleaned_again(validated)
        # In the order in which the asset reads them: a statement may hang on it.
        validated = validated.sort(LINEAGE)
        path, sql = project.features_path, project.features_sql
        return run_sql(self._cursor, path, sql, "validated", validated, references=self._references)

    def _cleaned_again(self, validated: "pl.DataFrame") -> "pl.DataFrame":
        """The same rows, cleaned beside no others; what is hidden in them stays hidden."""
        import polars as pl

        project = self._project
        starts = validated["_partition"].unique().sort().to_list()
        keys = [project.key_of(start) for start in starts]
        raw = pl.concat(
            [read(self._cursor, project.table("raw"), project.window(key, key), self._snapshot) for key in keys]
        )
        raw = raw.join(validated.select(LINEAGE), on=LINEAGE, how="semi", maintain_order="left")
        cleaned = run_sql(self._cursor, project.clean_path, project.clean_sql, "raw", raw)
        made = judge_rows(project, raw, cleaned).validated
        hidden = [name for name in self._hidden if name in validated.columns]
        return made.drop(hidden, strict=False).join(validated.select(*LINEAGE, *hidden), on=LINEAGE)

    def _finding(self, name: str, place: tuple[str, int], *, in_order: bool, ahead: bool) -> Finding:
        source, row = place
        where = f"for example of row {row} of {source}"
        path = self._project.features_path
        if not in_order:
            words = f"the feature {name} has other values when it is computed twice from the same rows, {where}"
            remedy = f"make {path} give one result: order every window by columns that tell all rows apart"
        elif ahead:
            words = f"the feature {name} looks ahead: it is another when later rows are deleted, {where}"
            remedy = f"let the windows of {path} (and of {self._project.clean_path}) look back only"
        else:
            words = f"the feature {name} holds what is not known yet at the row's own time: {self._listed()}, {where}"
            remedy = f"let it see earlier rows only, not those of the same time, in {path}"
        return Finding(f"clock:{name}", words, remedy)

    def _listed(self) -> str:
        return ", ".join(sorted(self._hidden))
