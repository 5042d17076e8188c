"""What a version is worth, in numbers: metrics with intervals, baselines, slices, its fit, its costs, and the gates.

Every number about the rows held out comes from one set of predictions and one set of resamples.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ml_assets.assets.judged import open_case
from ml_assets.assets.ladder import beats_baselines, climb, cost_of_row, judge_learning
from ml_assets.core.curves import against_actual, calibration, calibration_error, confusion, residuals
from ml_assets.core.estimates import learn_calibration, learn_losses
from ml_assets.core.evaluation import GateResult, check_gate, measure
from ml_assets.core.intervals import FEWEST_CLUSTERS, Interval, Resamples, intervals, resample
from ml_assets.core.slices import MOST_CANDIDATES, Slice, Worse, find_worse, slices_of
from ml_assets.lake.tables import PARTITION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from ml_assets.assets.judged import Case, Judged
    from ml_assets.declared.evaluation import Slice as DeclaredSlice
    from ml_assets.declared.modelling import Gate
    from ml_assets.project import Project
    from ml_assets.registry.models import Registry, Version

LAYOUT = 2
SHOWN_SLICES = 60
SHOWN_WORST = 8


@dataclass
class Judgement:
    """What is found of a version, part by part, and how long each part took."""

    numbers: dict[str, Any] = field(default_factory=lambda: {"layout": LAYOUT})
    gates: list[GateResult] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Within the block, a part is worked on."""
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)

    @property
    def stored(self) -> dict[str, Any]:
        """All of it as the registry keeps it."""
        return {**self.numbers, "gates": [asdict(gate) for gate in self.gates], "seconds": self.seconds}


@dataclass(frozen=True)
class Sliced:
    """The slices of the rows held out.

    Attributes:
        declared: those that the project asks for.
        worse: those of them, and of all features, that are worse than the rest by more than noise.
        looked_at: how many there were to find them among.
    """

    declared: Sequence[Slice]
    worse: Sequence[Worse]
    looked_at: int


def judge_version(project: Project, version: Version, rows: pl.DataFrame, registry: Registry) -> Judgement:
    """Judge a version.

    Args:
        project: the project.
        version: the version.
        rows: those of its training set, in the order of their lineage.
        registry: holds it.
    """
    found = Judgement()
    with found.part("predictions"):
        case = open_case(project, version, rows, registry)
    test = case.test
    with found.part("metrics"):
        found.numbers |= {
            "metrics": {
                "train": measure(version.task, case.learnt.actual, case.learnt.predicted),
                "test": measure(version.task, test.actual, test.predicted),
            },
            "rows": {
                "train": case.train.height,
                "train_measured": case.learnt.frame.height,
                "test": test.frame.height,
            },
            "watched": case.metric,
            **_behind(version, test),
        }
    with found.part("losses"):
        found.numbers["losses"] = _losses(case)
    with found.part("intervals"):
        resamples, found.numbers["resampling"] = _resamples(project, test.frame)
        found.numbers["intervals"] = _ends(intervals(version.task, test.actual, test.predicted, resamples))
    with found.part("baselines"):
        rungs = climb(case, resamples)
        found.numbers["baselines"] = rungs
    with found.part("learning_curve"):
        found.numbers |= judge_learning(case, rungs)
    with found.part("slices"):
        sliced = _slices(case, resamples)
        found.numbers |= {
            "slices": _told(case, sliced, resamples),
            "slices_looked_at": sliced.looked_at,
        }
    with found.part("gates"):
        found.gates += [_gate(project, gate, test, resamples, sliced) for gate in project.gates]
        found.gates.append(beats_baselines(case, rungs))
    if (costs := project.evaluation.costs) is not None:
        cost = cost_of_row(costs, test.actual, test.predicted)
        found.numbers["costs"] = {**costs.model_dump(exclude_none=True), "test": cost}
    return found


def _losses(case: Case) -> dict[str, Any] | None:
    """What tells how wrong the version is on rows without a label, learnt on those held out; None where too few are."""
    version, test = case.version, case.test
    if version.task != "regression":
        return learn_calibration(version.task, test.actual, test.predicted)
    return learn_losses(
        test.frame, version.features, test.predicted, test.losses, metric=case.metric, seed=version.seed
    )


def _behind(version: Version, test: Judged) -> dict[str, Any]:
    """What stands behind the metrics."""
    if version.task == "regression":
        return {
            "by_prediction": [asdict(each) for each in against_actual(test.actual, test.predicted)],
            "residuals": asdict(residuals(test.actual, test.predicted)),
        }
    bins = calibration(test.actual, test.predicted)
    return {
        "confusion": asdict(confusion(version.task, test.actual, test.predicted, version.classes)),
        "calibration": [asdict(each) for each in bins],
        "calibration_error": calibration_error(bins),
    }


def _resamples(project: Project, test: pl.DataFrame) -> tuple[Resamples, dict[str, Any]]:
    declared = project.evaluation
    what = declared.clusters or "partition"
    codes = test[declared.clusters or PARTITION].rank("dense").fill_null(0).to_numpy().astype(int)
    found = resample(
        test.height, clusters=codes, draws=declared.draws, confidence=declared.confidence, seed=project.training.seed
    )
    clusters = len(set(codes.tolist()))
    said = f"resampled by {what}: the rows of each of {clusters} were drawn as one"
    if found.drawn != "clusters":
        said = f"resampled by row: {clusters} clusters by {what} are fewer than {FEWEST_CLUSTERS}"
        said += ", so the intervals hold for rows of these clusters and not for others"
    return found, {
        "drawn": found.drawn, "units": found.units, "draws": declared.draws, "confidence": declared.confidence,
        "said": said,
    }  # fmt: skip


def _ends(found: Mapping[str, Interval]) -> dict[str, tuple[float, float]]:
    return {name: (each.low, each.high) for name, each in found.items()}


def _slices(case: Case, resamples: Resamples) -> Sliced:
    project, test = case.project, case.test
    declared = [one for each in project.evaluation.slices for one in _of(project, each, test.frame)]
    titles, minimum = {one.title for one in declared}, project.evaluation.minimum_rows
    features = [name for name, kind in case.version.features.items() if kind != "text"]
    looked_at = [one for one in declared if one.rows.sum() >= minimum]
    looked_at += [
        one for name in features for one in slices_of(test.frame[name], minimum=minimum) if one.title not in titles
    ]
    looked_at = looked_at[:MOST_CANDIDATES]
    return Sliced(declared, find_worse(looked_at, test.losses, resamples), len(looked_at))


def _of(project: Project, declared: DeclaredSlice, frame: pl.DataFrame) -> list[Slice]:
    return slices_of(
        frame[declared.column], values=declared.values, at_least=declared.at_least, below=declared.below,
        minimum=project.evaluation.minimum_rows, declared=True,
    )  # fmt: skip


def _told(case: Case, sliced: Sliced, resamples: Resamples) -> list[dict[str, Any]]:
    """The worst slices, then the declared ones, each with its metrics."""
    task, test = case.version.task, case.test

    def told(one: Slice) -> dict[str, Any]:
        metrics = measure(task, test.actual[one.rows], test.predicted[one.rows])
        watched = intervals(task, test.actual, test.predicted, resamples, rows=one.rows, names=[case.metric])
        return {
            "title": one.title, "rows": int(one.rows.sum()), "declared": one.declared,
            "value": metrics.get(case.metric), "metrics": metrics, "intervals": _ends(watched),
        }  # fmt: skip

    worst = sliced.worse[:SHOWN_WORST]
    shown = [{**told(each.slice), "rest": each.rest, "p_value": each.p_value} for each in worst]
    titles = {each["title"] for each in shown}
    others = [one for one in sliced.declared if one.title not in titles and one.rows.any()]
    return shown + [told(one) for one in others[:SHOWN_SLICES]]


def _gate(project: Project, gate: Gate, test: Judged, resamples: Resamples, sliced: Sliced) -> GateResult:
    """A declared gate: on all rows held out, on a slice, on each slice of a column, or on the worst of all."""
    places: list[tuple[str, NDArray[np.bool_] | None]] = [("", None)]
    if gate.slice == "worst":
        # Where none is worse than the rest by more than noise, all rows are.
        worst = sliced.worse[0].slice if sliced.worse else None
        places = [(worst.title, worst.rows) if worst else ("no slice is worse than the rest", None)]
    elif gate.slice is not None:
        places = [(one.title, one.rows) for one in _of(project, gate.slice, test.frame)]
        places = places or [(f"{gate.slice.column} has a value in enough rows", test.losses < -1)]

    def checked(where: str, rows: NDArray[np.bool_] | None) -> GateResult:
        inside = rows if rows is not None else test.losses == test.losses
        metrics = measure(project.task, test.actual[inside], test.predicted[inside]) if inside.any() else {}
        ends = None
        if gate.confident and metrics:
            names = [gate.metric]
            ends = _ends(intervals(project.task, test.actual, test.predicted, resamples, rows=rows, names=names))
        return check_gate(gate.metric, gate.at_most, gate.at_least, metrics, where=where, ends=ends)

    return min((checked(*place) for place in places), key=lambda result: _margin(gate, result))


def _margin(gate: Gate, result: GateResult) -> tuple[bool, float]:
    """By how much a gate is passed: the least of several slices speaks for all."""
    if result.value is None:
        return False, -float("inf")
    margins = [gate.at_most - result.value] if gate.at_most is not None else []
    margins += [result.value - gate.at_least] if gate.at_least is not None else []
    return result.passed, min(margins)
