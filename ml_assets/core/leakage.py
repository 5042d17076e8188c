"""Leakage: what a model could learn from that is not known when it predicts.

Three ways of finding it, each blind where another sees (docs/leakage.md): by lineage, read off the SQL
(`leakage_lineage`); by the clock, computing features again from what was known at a moment; by the numbers, in the rows
a model learns from. They find suspicions, not proofs: a finding has a name, and is let pass by that name and a written
reason only.

Source: Kaufman, Rosset, Perlich, Stitelman, "Leakage in Data Mining", ACM TKDD 6 (2012), whose "no time machine"
requirement the clock tests; Kapoor, Narayanan, "Leakage and the reproducibility crisis", Patterns 4 (2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    from ml_assets.core.tasks import Task

    Values = NDArray[np.float64]

LINEAGE = ("_partition", "_source", "_row")
# Ways that find what only the rows show of a feature.
OF_A_FEATURE = ("clock", "alone", "identifier")
BOTH_SIDES = "rows:both_sides"

# Share of the target's spread (R²) in new rows above which one number tells it all, whatever its unit.
NEARLY_ALL = 0.999
# The same for a number that says nearly the target itself, unit and all: a copy with noise, not a good feature.
NEARLY_THE_SAME = 0.98
SAME_UNIT = 0.1
# Mean recall above which one feature tells a label. The smell of a mushroom has 0.985, by nature.
NEARLY_EACH_LABEL = 0.99
# By fewer rows, anything looks perfect.
FEWEST_ROWS, FEWEST_OF_A_LABEL = 30, 5
ROWS = 10_000
LEAVES = 1024
# Share of test rows that stand in the training rows too, above which they judge what was learnt by heart.
MOST_REPEATED = 0.02
# A row is repeated by chance where this many like it are expected in the training rows.
BY_CHANCE = 0.01
UNIQUE = 0.99
# Numbers that were computed in another order differ in their last digits.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Finding:
    """A suspicion of leakage.

    Attributes:
        name: by which a waiver names it: `lineage:price_per_room`.
        words: what was found.
        remedy: what to do.
        file: where it stands; "" where it stands in no file.
        line, column: from 1.
    """

    name: str
    words: str
    remedy: str
    file: str = ""
    line: int = 0
    column: int = 0

    @property
    def place(self) -> str:
        """File, line and column; "" where it stands in no file."""
        return f"{self.file}, line {self.line}, column {self.column}" if self.file else ""

    def __str__(self) -> str:
        """In a sentence or two, with the way to waive it."""
        where = f"{self.place}: " if self.file else ""
        return f"{where}{self.words}. Remedy: {self.remedy}, or waive `{self.name}` with a reason (leakage.waivers)"


# ------------------------------------------------------------------------------------------------------ by the clock


def moments_of(rows: pl.DataFrame, time: str | None, *, ordered: bool) -> pl.Series:
    """When each row of a partition came to be: its time; else its position, or one moment for all without an order."""
    import polars as pl

    if time:
        return rows[time].alias("moment")
    return pl.int_range(rows.height, eager=True).alias("moment") * int(ordered)


def cuts_of(moments: pl.Series) -> list[Any]:
    """The moments at which a partition is cut: a quarter, a half and three quarters through those that there are."""
    found = moments.drop_nulls().unique().sort()
    places = [len(found) // 4, len(found) // 2, 3 * len(found) // 4] if len(found) else []
    return [found[place] for place in places]


def as_known_at(rows: pl.DataFrame, moments: pl.Series, cut: Any, hidden: Collection[str]) -> pl.DataFrame:
    """What was known of a partition at a moment: nothing later, and of the rows of that moment not what is hidden.

    A hidden value is replaced by one that is as far from it as there is: the greatest value of the column by the
    least, or the other way round, so that what is computed from it changes, and no filter or cast meets what it does
    not know.

    Args:
        rows: of one partition.
        moments: of each row, shape (n,). Rows without one are later than all.
        cut: the moment.
        hidden: columns that are not known when a prediction is made.
    """
    import polars as pl

    kept = rows.filter(moments <= cut)
    now = (moments == cut).filter(moments <= cut)
    return kept.with_columns(
        pl.when(now).then(_far_from(kept[name], rows[name].drop_nulls())).otherwise(kept[name]).alias(name)
        for name in hidden
        if name in rows.columns and not rows.schema[name].is_nested()
    )


def _far_from(values: pl.Series, known: pl.Series) -> pl.Series:
    """For each value another of its column: the greatest for one of the lower half, the least for one of the upper."""
    import polars as pl

    order = pl.Int8 if values.dtype == pl.Boolean else values.dtype
    numbers, ends = values.cast(order), known.cast(order).sort()
    if not len(ends):
        return values
    lower = (numbers <= ends[(len(ends) - 1) // 2]) & (numbers != ends[-1])
    far = pl.when(lower).then(pl.lit(ends[-1], dtype=order)).otherwise(pl.lit(ends[0], dtype=order))
    return pl.select(pl.when(values.is_not_null()).then(far.cast(values.dtype))).to_series()


def changed_features(before: pl.DataFrame, after: pl.DataFrame, names: Sequence[str]) -> dict[str, tuple[str, int]]:
    """The features of which rows that are in both frames have other values: feature → `_source` and `_row` of one."""
    import polars as pl

    both = before.select(*LINEAGE, *names).join(after.select(*LINEAGE, *names), on=LINEAGE, suffix=" after")
    found = {}
    for name in names:
        old, new = both[name], both[f"{name} after"]
        differs = old.ne_missing(new)
        if old.dtype.is_float():
            close = (old - new).abs() <= TOLERANCE * pl.select(pl.max_horizontal(old.abs(), new.abs())).to_series()
            differs &= ~close.fill_null(value=False)
        if differs.any():
            found[name] = both.filter(differs).select("_source", "_row").row(0)
    return found


# ---------------------------------------------------------------------------------------------------- by the numbers


def by_numbers(
    train: pl.DataFrame,
    test: pl.DataFrame,
    kinds: Mapping[str, str],
    *,
    target: str,
    task: Task,
    spared: Collection[str] = (),
    waived: Collection[str] = (),
) -> list[Finding]:
    """What the rows show: a feature that alone tells the target or names rows, rows on both sides of the split.

    Args:
        train: the rows a model learns from.
        test: those that judge it.
        kinds: feature → `number`, `category`, `date` or `text`.
        target: its name.
        task: what it is predicted as.
        spared: features that need not be looked at one by one: they are accused already, or hold older targets.
        waived: names of findings that block nothing: what names rows may tell the target too.
    """
    train, test = (rows.filter(rows[target].is_not_null()) for rows in (train, test))
    learnt, judged = _some(train), _some(test)
    findings = []
    for name, kind in kinds.items():
        if kind == "text" or name in spared:
            continue
        if kind in {"number", "category"} and (words := _as_identifier(train[name], kind)):
            remedy = "leave it out: what is true of one row is learnt by heart and true of no new one"
            findings.append(Finding(f"identifier:{name}", f"the feature {name} {words}", remedy))
            if findings[-1].name not in waived:
                continue
        if words := tells_all(learnt[name], learnt[target], judged[name], judged[target], task):
            remedy = "find out where its values come from; leave it out if they are not known before the target"
            findings.append(Finding(f"alone:{name}", f"the feature {name} alone {words}", remedy))
    return findings + _on_both_sides(train, test, [*kinds, target])


def _some(rows: pl.DataFrame) -> pl.DataFrame:
    """At most so many rows, spread evenly over all."""
    return rows.gather_every(-(-rows.height // ROWS)) if rows.height > ROWS else rows


def tells_all(learnt: pl.Series, told: pl.Series, asked: pl.Series, actual: pl.Series, task: Task) -> str:
    """How well one feature alone tells the target of new rows, in words; "" where that is no suspicion.

    Args:
        learnt: the feature in rows to learn from, shape (n,).
        told: the target of these rows.
        asked: the feature in new rows, shape (m,).
        actual: the target of the new rows.
        task: what the target is predicted as.
    """
    import numpy as np  # noqa: PLC0415
    import polars as pl

    if min(told.len(), actual.len()) < FEWEST_ROWS:
        return ""
    inputs = as_codes(pl.concat([learnt, asked], rechunk=False))
    first, then = inputs[: told.len()], inputs[told.len() :]
    kind = pl.Float64 if task == "regression" else pl.String
    outputs = pl.concat([told.cast(kind), actual.cast(kind)])
    codes = (outputs if task == "regression" else outputs.rank("dense")).to_numpy().astype(float)
    known, truth = codes[: told.len()], codes[told.len() :]
    if task != "regression":
        recall = told_by_tree(task, first, known, then, truth)
        return f"tells the label of {recall:.1%} of new rows, over all labels" if recall >= NEARLY_EACH_LABEL else ""
    usable = np.isfinite(truth)
    share = told_by_tree(task, first[np.isfinite(known)], known[np.isfinite(known)], then[usable], truth[usable])
    slope, by_line = told_by_line(first, known, then, truth)
    same = abs(slope - 1) <= SAME_UNIT and by_line >= NEARLY_THE_SAME
    if same:
        return f"is the target with some noise: it tells {by_line:.2%} of its spread in new rows, in the same unit"
    best = max(share, by_line)
    return f"tells {best:.2%} of the target's spread in new rows" if best >= NEARLY_ALL else ""


def as_codes(values: pl.Series) -> Values:
    """A column as numbers that a tree can cut: text by its alphabetical order, time in seconds, missing as NaN."""
    import polars as pl

    if values.dtype == pl.String or values.dtype in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String).rank("dense")
    elif values.dtype.is_temporal():
        values = values.cast(pl.Datetime("us")).dt.epoch("s")
    codes = values.cast(pl.Float64)
    # As in training: what is infinite is missing.
    return codes.set(codes.is_infinite().fill_null(value=False), None).to_numpy()


def told_by_tree(task: Task, learnt: Values, told: Values, asked: Values, actual: Values) -> float:
    """What a tree on one column tells of the target in rows that it has not seen.

    Args:
        task: `regression`, or a classification.
        learnt: values of the column, shape (n,). A missing value is NaN, and a value like others.
        told: the target, shape (n,), as a number.
        asked: the column in new rows, shape (m,).
        actual: the target there, shape (m,).

    Returns:
        R² for a regression, else the mean recall over the labels of the new rows; 0 where they cannot be told.
    """
    import numpy as np  # noqa: PLC0415
    from sklearn.metrics import recall_score
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    first, then = learnt.reshape(-1, 1), asked.reshape(-1, 1)
    options: dict[str, Any] = {"max_leaf_nodes": LEAVES, "min_samples_leaf": 3, "random_state": 0}
    if task == "regression":
        if len(told) < FEWEST_ROWS or len(actual) < 2 or np.ptp(actual) == 0:  # noqa: PLR2004 - a spread
            return 0.0
        return float(DecisionTreeRegressor(**options).fit(first, told).score(then, actual))
    labels, times = np.unique(actual, return_counts=True)
    # A rare label tells nothing by itself, and must not keep the others from telling.
    labels = labels[times >= FEWEST_OF_A_LABEL]
    if len(labels) < 2 or len(np.unique(told)) < 2:  # noqa: PLR2004 - two to tell apart
        return 0.0
    said = DecisionTreeClassifier(**options, class_weight="balanced").fit(first, told).predict(then)
    return float(recall_score(actual, said, average="macro", labels=labels, zero_division=0))


def told_by_line(learnt: Values, told: Values, asked: Values, actual: Values) -> tuple[float, float]:
    """What a straight line through one column and the target tells in rows that it has not seen.

    Args:
        learnt: values of the column, shape (n,). Rows where one of the two is missing are left out.
        told: the target of these rows.
        asked: values of the column in new rows, shape (m,).
        actual: the target of the new rows.

    Returns:
        Its slope, and R² in the new rows; 0 and 0 without a line, or where most new rows lack the column.
    """
    import numpy as np  # noqa: PLC0415

    seen, new = np.isfinite(learnt) & np.isfinite(told), np.isfinite(asked) & np.isfinite(actual)
    x, y, later, truth = learnt[seen], told[seen], asked[new], actual[new]
    # Where most rows have no value, it cannot tell nearly everything.
    if 2 * new.sum() < len(actual) or len(x) < FEWEST_ROWS or np.ptp(x) == 0 or np.ptp(truth) == 0:
        return 0.0, 0.0
    slope = float(np.cov(x, y)[0, 1] / np.var(x, ddof=1))
    left = truth - (y.mean() + slope * (later - x.mean()))
    return slope, float(1 - np.mean(left**2) / np.var(truth))


def _as_identifier(values: pl.Series, kind: str) -> str:
    """Why a feature looks like a row's name, in words; "" where it does not."""
    there = values.drop_nulls()
    distinct = there.n_unique()
    if there.len() < 2 * FEWEST_ROWS or distinct < UNIQUE * there.len():
        return ""
    if kind == "category":
        return f"has {distinct:,} different texts in {there.len():,} rows: it names rows"
    lowest, highest = there.min(), there.max()
    if not (isinstance(lowest, int) and isinstance(highest, int)) or highest - lowest >= 2 * there.len():
        return ""
    # Dense and each once: counted, not measured.
    return f"runs from {lowest} to {highest}, each number once: it counts rows"


def _on_both_sides(train: pl.DataFrame, test: pl.DataFrame, columns: list[str]) -> list[Finding]:
    """Whether test rows stand among the training rows too, more than chance explains.

    A row repeats another by chance where its values are common: where, if columns were independent, at least 0.01 rows
    like it were expected among the training rows. Flats of few kinds in few towns repeat; measurements do not.
    """
    import polars as pl

    if min(train.height, test.height) < FEWEST_ROWS:
        return []
    learnt, judged = train.select(columns), test.select(*columns, "_source", "_row")
    found = judged.join(learnt.unique(), on=columns, how="semi", nulls_equal=True)
    expected = pl.Series([float(train.height)] * found.height, dtype=pl.Float64)
    for name in columns if found.height else ():
        counts = learnt.group_by(name).len("times")
        times = found.select(name).join(counts, on=name, how="left", nulls_equal=True, maintain_order="left")["times"]
        expected *= times / train.height
    repeated = found.filter(expected < BY_CHANCE)
    share = repeated.height / test.height
    if share <= MOST_REPEATED:
        return []
    source, row = repeated.select("_source", "_row").row(0)
    words = (
        f"{repeated.height:,} of {test.height:,} test rows ({share:.1%}) stand among the training rows too, with all "
        f"features and the target, for example row {row} of {source}: they judge what was learnt by heart"
    )
    remedy = "remove the repetitions in the source, or split so that what belongs together stays on one side"
    return [Finding(BOTH_SIDES, words, remedy)]
