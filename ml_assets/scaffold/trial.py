"""A quick training before anything is declared: what predicts the target too well, and what a gate may demand."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

from ml_assets.core.evaluation import measure, row_losses
from ml_assets.core.intervals import mean_above_zero, resample
from ml_assets.core.leakage import NEARLY_ALL, as_codes, tells_all, told_by_line, told_by_tree
from ml_assets.core.partitioning import placed
from ml_assets.core.quoting import quoted
from ml_assets.core.splitting import split_by_time, split_rows
from ml_assets.core.tasks import as_actual, classes_of
from ml_assets.core.training import Words, build_pipeline, feature_kinds, fit, predict
from ml_assets.scaffold.guessing import COOLDOWNS, WINDOWS

if TYPE_CHECKING:
    import polars as pl

    from ml_assets.core.tasks import Task
    from ml_assets.scaffold.guesses import Guess
    from ml_assets.scaffold.looking import Table

# Rows of a trial: enough for a gate, and some seconds at most.
ROWS = 30_000
ROWS_OF_A_SUSPICION = 6_000
# Share of the target's spread (R²) that one column alone must explain to be asked about; of rows that must be a sum.
TOO_GOOD = 0.99
MOST_PAIRS = 30
SEED = 7
# A model whose error is below this share of who always says the same has learnt something.
CLEARLY = 0.95
BLOCK_WINDOW = 20
# The platform asks for 0.05 on other rows than those of the trial.
SURELY_BETTER = 0.01


@dataclass
class Trial:
    """How a model is to be trained, and what it must reach.

    Attributes:
        estimator: import path.
        parameters: of it.
        window, test: partitions.
        gates: (metric, `at_most` or `at_least`, limit, why).
        watched: the metric whose growth is watched, and why.
        minimum_rows: labelled rows below which a partition decides nothing.
        cooldown: partitions.
        why: the estimator.
    """

    estimator: str
    window: int
    test: int
    parameters: dict[str, Any] = field(default_factory=dict)
    gates: list[tuple[str, str, float, str]] = field(default_factory=list)
    watched: tuple[str, str] = ("", "")
    minimum_rows: int = 200
    cooldown: int = 3
    why: str = ""


def try_out(table: Table, found: Guess) -> Trial:
    """Look for leakage, choose how to train, train once on a part of the rows, and set gates by what came of it."""
    _suspect(table, found)
    _derive(table, found)
    trial = _plan(found)
    train, test = _split(table, found, trial)
    for column in found.features:
        if not train[column.name].count():
            column.left_out = "no row to learn from has a value of it"
    _set_gates(found, trial, train, test)
    return trial


def _plan(found: Guess) -> Trial:
    texts = [one for one in found.features if one.text]
    kind = "Regressor" if found.task == "regression" else "Classifier"
    estimator, why = f"sklearn.ensemble.HistGradientBoosting{kind}", "Takes missing values and categories as they are."
    parameters: dict[str, Any] = {}
    if texts and 2 * len(texts) >= len(found.features):
        why = "Mostly text: a linear model over words learns fast and well."
        estimator, parameters = _linear(found.task)
    grain = found.calendar.grain
    window = min(found.partitions, WINDOWS.get(grain, BLOCK_WINDOW))
    test = 1
    while found.partitions > 1 and test * found.median < 200 and (test + 1) * 4 <= window:  # noqa: PLR2004
        test += 1
    return Trial(
        estimator, window, test, parameters,
        minimum_rows=max(1, min(200, found.median // 2)), cooldown=COOLDOWNS[grain], why=why,
    )  # fmt: skip


def _linear(task: Task) -> tuple[str, dict[str, Any]]:
    if task == "regression":
        return "sklearn.linear_model.Ridge", {}
    return "sklearn.linear_model.LogisticRegression", {"max_iter": 1000}


def _split(table: Table, found: Guess, trial: Trial) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows to learn from and those held out, nearly as the platform will cut them."""
    import polars as pl

    rows = table.cursor.execute(_features_sql(found)).pl().with_columns(pl.col(pl.Decimal).cast(pl.Float64))
    if found.task == "regression":
        rows = rows.filter(pl.col(found.target.name).cast(pl.Float64).is_finite())
    rows = rows.filter(pl.col(found.target.name).is_not_null())
    grain = found.calendar.grain
    if trial.window == 1:
        held_out = split_rows(zip(rows["_source"], rows["_row"], strict=True), 0.2, SEED)
        mask = pl.Series(held_out, dtype=pl.Boolean)
        train, test = rows.filter(~mask), rows.filter(mask)
    elif grain == "block":
        block = pl.int_range(rows.height, eager=True) // found.calendar.rows
        test = rows.filter(block >= block.max() - trial.test + 1)  # type: ignore[operator]
        train = rows.filter(block < block.max() - trial.test + 1)  # type: ignore[operator]
    else:
        time = rows[found.time.name].cast(pl.Datetime("us")) if found.time else rows["_row"]
        starts = placed(time, found.calendar)
        cut = split_by_time(starts.unique().to_list(), window=trial.window, test=trial.test)
        train, test = rows.filter(starts.is_in(list(cut.train))), rows.filter(starts.is_in(list(cut.test)))
    return _some(train), _some(test)


def _some(rows: pl.DataFrame) -> pl.DataFrame:
    return rows if rows.height <= ROWS else rows.sample(ROWS, seed=SEED)


def _features_sql(found: Guess) -> str:
    listed = [quoted(one.name) for one in found.features]
    derived = [f"{sql} AS {quoted(name)}" for name, (sql, _) in found.derived.items()]
    time = [quoted(found.time.name)] if found.time else []
    return f"SELECT {', '.join([*time, *listed, *derived, quoted(found.target.name)])}, _source, _row FROM typed"


def _derive(table: Table, found: Guess) -> None:
    """What the time says of every partition alike: its hour where a partition has all, its weekday likewise."""
    time, grain = found.time, found.calendar.grain
    if time is None or any(one.name in {"hour", "hr", "weekday"} for one in found.features):
        return
    name = quoted(time.name)
    hours, weekdays, days = table.one(
        f"SELECT count(DISTINCT hour(CAST({name} AS TIMESTAMP))), count(DISTINCT isodow({name})), "
        f"count(DISTINCT CAST({name} AS DATE)) FROM typed"
    )
    if hours > 1 and grain != "hour" and "hour" not in {one.name for one in found.columns}:
        found.derived["hour"] = (f"hour({name})", "The time itself is no feature: its hour and weekday come again.")
    if (
        weekdays > 1
        and days > 3 * found.partitions
        and grain in {"week", "month"}
        and "weekday" not in {one.name for one in found.columns}
    ):
        found.derived["weekday"] = (
            f"isodow({name})",
            "The time itself is no feature: its hour and weekday come again.",
        )


# --------------------------------------------------------------------------------------------------------- gates


def _set_gates(found: Guess, trial: Trial, train: pl.DataFrame, test: pl.DataFrame) -> None:

    from sklearn.exceptions import ConvergenceWarning

    task, target = found.task, found.target.name
    texts = [one.name for one in found.features if one.text]
    trial.watched = _watched(task, test[target])
    if not train.height or not test.height:
        raise ValueError("--target: too few rows have a target to hold some out. Remedy: more rows, or --grain none")
    classes = classes_of(train[target], task, found.positive or None)
    schema = {name: kind for name, kind in train.schema.items() if name not in {"_source", "_row"}}
    kinds = feature_kinds(schema, target=target, time=found.time.name if found.time else None, task=task, text=texts)
    actual, metric = as_actual(test[target], task, classes), trial.watched[0]

    def says(estimator: str, parameters: dict[str, Any]) -> Any:
        pipeline = build_pipeline(estimator, parameters, kinds, SEED, task=task, words=Words())
        with warnings.catch_warnings():
            # Not wholly converged it tells enough of what can be reached.
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit(pipeline, train, kinds, target, task=task, classes=classes)
        return predict(pipeline, test, kinds, task)

    predicted = says(trial.estimator, trial.parameters)
    linear, parameters = _linear(task)
    if trial.estimator != linear:
        by_line = says(linear, parameters)
        # A version that is no better than a linear model is refused, so it had better be one.
        gained = row_losses(metric, actual, by_line) - row_losses(metric, actual, predicted)
        if mean_above_zero(gained, resample(len(gained))).p_value > SURELY_BETTER:
            predicted, trial.estimator, trial.parameters = by_line, linear, parameters
            trial.why = "In a trial boosted trees were no better than a linear model, by more than chance."
    reached = measure(task, actual, predicted)
    guessed = measure(task, actual, _always(task, train[target], test.height, classes))
    trial.gates.append(_gate(metric, reached[metric], guessed[metric], found))
    second = {"regression": "r2", "binary": "roc_auc"}.get(task, "accuracy")
    # A second gate where there is room between guessing and knowing.
    if (
        reached[metric] < CLEARLY * guessed[metric]
        and second in reached
        and (lowest := guessed.get(second, 0.0)) < reached[second] - 0.1
    ):
        limit = math.floor(100 * (lowest + reached[second]) / 2) / 100
        why = f"{second} was {reached[second]:.3g} in a trial; who always says the same has {lowest:.2g}: half way."
        trial.gates.append((second, "at_least", limit, why))


def _watched(task: Task, target: pl.Series) -> tuple[str, str]:
    if task != "regression":
        return "log_loss", "The likelihood of what then was: it also sees a model that is too sure."
    least, median = target.min(), target.median()
    if isinstance(least, int | float) and isinstance(median, int | float) and 0 < median * 0.05 < least:
        return "mape", "The target is far from zero: its error is told as a share."
    return "mae", "The target may be near zero or below, where a share of it means nothing."


def _always(task: Task, learnt: pl.Series, rows: int, classes: Any) -> Any:
    """What one says who knows only the target of the rows to learn from."""
    import numpy as np  # noqa: PLC0415

    known = as_actual(learnt, task, classes)
    if task == "multiclass":
        shares = np.array([(known == code).mean() for code in range(len(classes))])
        return np.tile(shares, (rows, 1))
    return np.full(rows, np.median(known) if task == "regression" else known.mean())


def _gate(metric: str, reached: float, guessed: float, found: Guess) -> tuple[str, str, float, str]:
    told = f"{metric} was {reached:.3g} in a trial on held-out rows; who always says the same has {guessed:.3g}"
    if reached < CLEARLY * guessed:
        limit, why = max((reached + guessed) / 2, 1.1 * reached), f"{told}: half way."
    else:
        limit, why = 1.25 * max(reached, guessed), f"{told}: it hardly beats that, and the gate keeps out worse only."
        found.warnings.append(
            f"the features hardly predict {found.target.name}: {told}. A gate that demands more would stop "
            "every model; one that is no better than a baseline needs evaluation.baselines_waiver to serve"
        )
    digits = 2 - math.floor(math.log10(limit)) if limit > 0 else 3
    return metric, "at_most", math.ceil(limit * 10**digits) / 10**digits, why


# ------------------------------------------------------------------------------------------------------- leakage


def _suspect(table: Table, found: Guess) -> None:
    """Leave out what predicts the target nearly perfectly by itself, or adds up to it."""
    import polars as pl

    target = found.target
    names = ", ".join(quoted(one.name) for one in [*found.features, target])
    sample = f"reservoir({ROWS_OF_A_SUSPICION} ROWS) REPEATABLE (7)"
    sql = f"SELECT {names} FROM typed WHERE {quoted(target.name)} IS NOT NULL USING SAMPLE {sample}"
    rows = table.cursor.execute(sql).pl()
    if rows.height < 50:  # noqa: PLR2004 - by so few, anything looks perfect
        return
    before = found.features
    suspects: dict[str, str] = {}
    if found.task == "regression":
        rows = rows.filter(rows[target.name].cast(pl.Float64).is_finite())
        suspects |= _sums(found, rows)
    for column in before:
        if column.name in suspects or column.text:
            continue
        pair = rows.select(pl.col(column.name).alias("x"), pl.col(target.name).alias("y"))
        if why := _too_good(found.task, pair):
            suspects[column.name] = why
        elif found.task == "regression" and (share := _explained(pair)) >= TOO_GOOD:
            found.questions.append(
                f"Is {column.name} known when a prediction is made? It alone tells {share:.1%} of {target.name}. "
                "If it is not, leave it out of features.sql"
            )
    if len(suspects) == len(before):
        found.warnings += [
            f"{name} looks like leakage, and nothing else is left to learn from: {why}"
            for name, why in suspects.items()
        ]
        return
    for column in before:
        if column.name in suspects:
            found.leave_out(column, suspects[column.name])
            found.questions.append(f"Is {column.name} known when a prediction is made? Then add it to features.sql")


def _too_good(task: Task, pair: pl.DataFrame) -> str:
    """Why a column `x` is leakage of the target `y`, nearly certainly: by the test of every training, and by ranks."""
    import polars as pl

    missing = pair.with_columns(x=pl.col("x").is_null())
    if task != "regression" and missing["x"].n_unique() > 1 and tells_all(*_halves(missing), task):
        return "it is filled, or missing, by what the target is: leakage"
    filled = pair.drop_nulls("x")
    if filled.height < pair.height / 2:
        return ""
    if words := tells_all(*_halves(filled), task):
        return f"it alone {words}: leakage, nearly certainly"
    if task == "regression" and (share := _by_rank(filled)) >= NEARLY_ALL:
        return f"it alone tells {share:.2%} of the order of the target: leakage, nearly certainly"
    return ""


def _halves(pair: pl.DataFrame) -> tuple[pl.Series, pl.Series, pl.Series, pl.Series]:
    """Column and target of every other row, then those of the rows between."""
    learnt, asked = pair.gather_every(2, 1), pair.gather_every(2)
    return learnt["x"], learnt["y"], asked["x"], asked["y"]


def _by_rank(pair: pl.DataFrame) -> float:
    """R² of a line through the ranks: it sees what grows with the target where a few rows make most of the spread."""
    import polars as pl

    return told_by_line(*(as_codes(half) for half in _halves(pair.select(pl.all().rank()))))[1]


def _explained(pair: pl.DataFrame) -> float:
    """What a column tells of a number in rows not seen: R², of a tree or of the ranks."""
    filled = pair.drop_nulls("x")
    if filled.height < pair.height / 2:
        return 0.0
    return max(told_by_tree("regression", *(as_codes(half) for half in _halves(filled))), _by_rank(filled))


def _sums(found: Guess, rows: pl.DataFrame) -> dict[str, str]:
    """Pairs of numbers whose sum, difference or product is the target."""
    import numpy as np  # noqa: PLC0415
    import polars as pl

    numbers = [one.name for one in found.features if one.is_number][:MOST_PAIRS]
    target = rows[found.target.name].cast(pl.Float64).to_numpy()
    values = {name: rows[name].cast(pl.Float64).to_numpy() for name in numbers}
    suspects: dict[str, str] = {}
    for first, second in combinations(numbers, 2):
        a, b = values[first], values[second]
        ways = {
            f"{first} + {second}": a + b,
            f"{first} - {second}": a - b,
            f"{second} - {first}": b - a,
            f"{first} * {second}": a * b,
        }
        for words, made in ways.items():
            # Rounding in the source is no difference.
            close = np.abs(made - target) <= 1e-6 + 1e-3 * np.abs(target)
            if close[np.isfinite(made)].size > rows.height / 2 and close[np.isfinite(made)].mean() > TOO_GOOD:
                for name in re.findall(r"\w+", words):
                    if np.ptp(values[name][np.isfinite(values[name])]) > 0:
                        suspects.setdefault(name, f"{words} is {found.target.name}: leakage")
    return suspects
