"""A version held against baselines, and against itself fitted on fewer rows."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ml_assets.assets.judged import drawn, fitted
from ml_assets.core.baselines import Past, as_targets, dummies, past_of, repeat
from ml_assets.core.curves import cheapest_threshold, cost_of_labels, cost_of_values
from ml_assets.core.evaluation import SIGNIFICANCE, GateResult, measure, row_losses
from ml_assets.core.fitting import Step, judge_fit, loss_of
from ml_assets.core.intervals import mean_above_zero
from ml_assets.core.tasks import as_actual, title_of
from ml_assets.core.training import TrainingError
from ml_assets.lake.tables import PARTITION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import polars as pl

    from ml_assets.assets.judged import Case
    from ml_assets.core.intervals import Resamples
    from ml_assets.core.tasks import Values
    from ml_assets.declared.evaluation import Costs

# A linear model of so many rows, drawn by chance, is as good as one of all, to the digits that a comparison reads.
LINEAR_ROWS = 50_000
LINEAR: tuple[str, dict[str, Any]] = ("sklearn.linear_model.Ridge", {})
LINEAR_OF_CLASSES: tuple[str, dict[str, Any]] = ("sklearn.linear_model.LogisticRegression", {"max_iter": 200})
# The largest step of the learning curve: more rows would cost more than they tell.
MOST_LEARNT = 20_000
# Rows of a kind on which the loss of a step is measured.
MEASURED_ROWS = 5_000
TITLES = {
    "mean": "Mean", "median": "Median", "prior": "Shares of the classes", "last_value": "Last value",
    "seasonal": "Value a season ago", "linear": "Linear model",
}  # fmt: skip


def climb(case: Case, resamples: Resamples) -> list[dict[str, Any]]:
    """The baselines, each on the same rows held out, and whether the version is better by more than noise."""
    version, test, actual = case.version, case.test, case.targets
    classes, costs = len(version.classes), case.project.evaluation.costs
    found: list[dict[str, Any]] = []

    def rung(name: str, predicted: Values) -> None:
        difference = mean_above_zero(row_losses(case.metric, test.actual, predicted) - test.losses, resamples)
        metrics = measure(version.task, test.actual, predicted)
        said = {"name": name, "title": TITLES[name], "value": metrics[case.metric], "metrics": metrics}
        cost = {"cost": cost_of_row(costs, test.actual, predicted)} if costs is not None else {}
        beaten = difference.p_value < SIGNIFICANCE
        found.append({**said, **cost, "p_value": difference.p_value, "beaten": beaten})

    def left_out(name: str, why: str) -> None:
        found.append({"name": name, "title": TITLES[name], "left_out": why})

    for name, predicted in dummies(version.task, actual, test.frame.height, classes).items():
        rung(name, predicted)
    for name, past in _pasts(case):
        of_learnt, of_test = (_part(past, frame) for frame in (case.train, test.frame))
        if of_test.rows.any():
            rung(name, repeat(version.task, actual, of_learnt, of_test, classes))
        else:
            left_out(name, "the training set has no row that is old enough")
    try:
        rung("linear", _linear(case))
    except TrainingError as error:
        left_out("linear", str(error))
    return found


def _pasts(case: Case) -> Iterator[tuple[str, Past]]:
    """What had become known when each row of the training set was judged: its last value, and that of a season ago."""
    import polars as pl

    project, version, rows = case.project, case.version, case.rows
    if project.partitions.grain == "none":
        return
    declared, time_column = project.evaluation, project.partitions.time
    timed = bool(time_column) and time_column in rows.columns
    moment = pl.col(PARTITION)
    if timed:
        moment = pl.col(time_column).cast(pl.Datetime("us"))
        # A stray has no time: it came with the first of its partition.
        moment = pl.coalesce(moment, moment.min().over(PARTITION), pl.col(PARTITION))
    entity = pl.col(declared.entity).cast(pl.String).fill_null("") if declared.entity else pl.lit("")
    axis = rows.select(moment.alias("moment"), entity.alias("entity"), PARTITION)
    targets = as_targets(
        version.task, as_actual(rows[version.target], version.task, version.classes), len(version.classes)
    )
    first = pl.col("moment").min().over(PARTITION)
    if declared.labels_known == "with_the_partition":
        yield "last_value", past_of(axis, targets, axis.with_columns(first.alias("moment")), before=True)
    elif timed:
        yield "last_value", past_of(axis, targets, axis, before=True)
    else:
        # Blocks have no time but the order of their rows.
        ordered = axis.with_columns(pl.int_range(pl.len()).alias("moment"))
        yield "last_value", past_of(ordered, targets, ordered, before=True)
    if declared.season is not None:
        shifted = {start: project.step(start, -declared.season) for start in axis[PARTITION].unique()}
        then = pl.col(PARTITION).replace_strict(shifted, return_dtype=axis.schema["moment"])
        ago = then + (pl.col("moment") - pl.col(PARTITION))
        # Clocks that are put back must not put a row of its own partition a season ago.
        ago = pl.min_horizontal(ago, first - pl.duration(microseconds=1))
        yield "seasonal", past_of(axis, targets, axis.with_columns(ago.alias("moment")), before=False)


def _part(past: Past, frame: pl.DataFrame) -> Past:
    places = frame["_place"].to_numpy()
    return Past(past.sums[places], past.rows[places])


def _linear(case: Case) -> Values:
    """What a linear model of the same rows and features says of those held out.

    Raises:
        TrainingError: why there is none.
    """
    from sklearn.exceptions import ConvergenceWarning

    if case.version.estimator.startswith("sklearn.linear_model."):
        raise TrainingError("the model is linear itself")
    estimator, parameters = LINEAR if case.version.task == "regression" else LINEAR_OF_CLASSES
    frame, _ = drawn(case.train, LINEAR_ROWS, case.project.training.seed)
    with warnings.catch_warnings():
        # Not wholly converged it is a baseline all the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fitted(case, frame, estimator, parameters)(case.test.frame)


def beats_baselines(case: Case, rungs: Sequence[Mapping[str, Any]]) -> GateResult:
    """The gate that every version must pass, or be excused from with a reason: better than all baselines."""
    metric, waiver = case.metric, case.project.evaluation.baselines_waiver or ""
    climbed = [rung for rung in rungs if "metrics" in rung]
    # The one that is nearest to being as good.
    hardest = max(climbed, key=lambda rung: (rung["p_value"], -rung["metrics"][metric]))
    reached = measure(case.version.task, case.test.actual, case.test.predicted)[metric]
    best = f"{hardest['metrics'][metric]:.4g} of a baseline ({hardest['title'].lower()})"
    demand = f"{metric} below the {best} by more than noise"
    if hardest["beaten"]:
        return GateResult(metric, reached, demand, passed=True)
    return GateResult(metric, reached, demand, passed=bool(waiver), waiver=waiver)


def judge_learning(case: Case, rungs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The learning curve, and what it says of the fit; the threshold, which is chosen on rows a step has not seen."""
    version, train, test, seed = case.version, case.train, case.test, case.project.training.seed
    found: dict[str, Any] = {}
    steps: list[Step] = []
    gained = None
    shares = case.project.evaluation.learning_curve
    rows = min(train.height, MOST_LEARNT / max(shares, default=1))
    for share in shares:
        frame, others = drawn(train, int(share * rows), seed)
        try:
            says = fitted(case, frame, version.estimator, version.parameters)
        except TrainingError:
            # Of so few rows there is no model; the next step is larger.
            continue
        own, unseen = (drawn(each, MEASURED_ROWS, seed)[0] for each in (frame, others))
        of_unseen, of_test = says(unseen), case.losses(test.frame, says(test.frame))
        losses = case.losses(own, says(own)), case.losses(unseen, of_unseen), of_test
        steps.append(Step(frame.height, *map(loss_of, losses)))
        gained = loss_of(of_test - test.losses)
        found |= _threshold(case, unseen, of_unseen)
    steps.append(Step(train.height, loss_of(case.learnt.losses), None, loss_of(test.losses)))
    best = "prior" if version.classes else "median" if case.metric in {"mae", "mape"} else "mean"
    constant = dummies(version.task, case.targets, train.height, len(version.classes))[best]
    findings = judge_fit(
        steps,
        loss_of(row_losses(case.metric, case.targets, constant)),
        title=title_of("mse" if case.metric == "rmse" else case.metric),
        gained=gained,
        linear_is_better=any(rung["name"] == "linear" and rung.get("p_value", 0) > 1 - SIGNIFICANCE for rung in rungs),
    )
    return found | {
        "learning_curve": [asdict(step) for step in steps],
        "fit": [asdict(finding) for finding in findings],
    }


def _threshold(case: Case, unseen: pl.DataFrame, predicted: Values) -> dict[str, Any]:
    """The threshold that costs least on training rows that a model of the others is asked about; never on the test."""
    costs = case.project.evaluation.costs
    if costs is None or costs.of_labels is None:
        return {}
    actual = as_actual(unseen[case.version.target], case.version.task, case.version.classes)
    found = cheapest_threshold(actual, predicted, *costs.of_labels)
    of_test = {
        name: float(cost_of_labels(case.test.actual, case.test.predicted, value, *costs.of_labels).mean())
        for name, value in (("test_cost", found.value), ("test_cost_of_half", 0.5))
    }
    return {"threshold": {**asdict(found), "rows": unseen.height, **of_test}}


def cost_of_row(costs: Costs, actual: Values, predicted: Values) -> float:
    """What the mistakes cost by the row, in the unit of the costs; labels are said above a probability of 0.5."""
    if costs.of_labels is not None:
        return float(cost_of_labels(actual, predicted, 0.5, *costs.of_labels).mean())
    if costs.of_values is not None:
        return float(cost_of_values(actual, predicted, *costs.of_values).mean())
    return 0.0
