"""Leakage: what a model could learn from that is not known when it predicts.

Three ways of finding it, each blind where another sees (docs/leakage.md): by lineage, read off the SQL; by the clock, by
computing features again from what was known at a moment; by the numbers, off the rows a model learns from. They find
suspicions, not proofs: a finding has a name, and is let pass by that name and a written reason only.

Source: Kaufman, Rosset, Perlich, Stitelman, "Leakage in Data Mining", ACM TKDD 6 (2012), whose "no time machine"
requirement the clock tests; Kapoor, Narayanan, "Leakage and the reproducibility crisis", Patterns 4 (2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.core.lineage import ColumnRef, column_lineage, required_columns
from ml_assets.core.statement import Statement, nearest, read_statement

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    import polars as pl
    from numpy.typing import NDArray
    from sqlglot import exp

    from ml_assets.core.tasks import Task

    Values = NDArray[np.float64]

LINEAGE = ("_partition", "_source", "_row")
# Ways that find what only the rows show.
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


# ------------------------------------------------------------------------------------------------------- by lineage


@dataclass(frozen=True)
class Script:
    """A statement and its file."""

    sql: str
    path: str


@dataclass(frozen=True)
class Traced:
    """What the SQL shows.

    Attributes:
        findings: features, or columns of `validated`, computed from what is not known at prediction.
        accused: the features that these findings are about.
        hidden: the columns of `validated` that are not known at prediction.
        older: features that hold such columns, but of earlier rows only: the clock judges them.
    """

    findings: tuple[Finding, ...]
    accused: frozenset[str]
    hidden: frozenset[str]
    older: frozenset[str]


def trace(
    clean: Script,
    features: Script,
    *,
    target: str,
    time: str | None,
    unknown: Sequence[str],
    columns: Sequence[str],
    references: Collection[str] = (),
) -> Traced:
    """Which features are computed from the target, from what it is computed from, or from what was declared unknown.

    Through every CTE, subquery, join and window of both statements. A value of an earlier row (`lag`, a frame that ends
    before the current row) is not the row's own: the clock judges it. Two columns of `validated` that clean.sql
    computes from the same raw column are one: where one is not known, the other is not.

    Args:
        clean, features: the statements.
        target: the column of features.sql that is predicted.
        time: the column that holds a row's time: it is known by its nature.
        unknown: columns of `validated`, or of a reference as `weather.temp`.
        columns: of `validated`.
        references: names of the tables that features.sql reads beside it.

    Raises:
        SqlError: as `column_lineage`.
    """
    inputs: dict[str, Sequence[str]] = {"validated": [*columns, *(one for one in LINEAGE if one not in columns)]}
    asked = {
        name: sorted(required_columns(features.sql, name, others=inputs, where=features.path)) for name in references
    }
    known = inputs | asked
    every = column_lineage(features.sql, known, where=features.path)
    own = column_lineage(features.sql, known, where=features.path, without={"earlier"})
    present = column_lineage(features.sql, known, where=features.path, without={"earlier", "later"})

    spelled = {name.lower(): ref for name, ref in _references(inputs | asked).items()}
    declared = frozenset(spelled[name.lower()] for name in unknown if name.lower() in spelled)
    told_by = {ref for ref in present[target] if ref.column not in {*LINEAGE, time}}
    of_target = (told_by & declared) or told_by
    secret = frozenset(of_target | declared)
    # In clean.sql: what else is made of the raw columns behind them.
    made_of = _raw_columns(clean, columns)
    raw = {name for ref in secret if ref.table == "validated" for name in _behind(ref.column, made_of)}
    kin = {
        name: made_of[name.lower()] & raw
        for name in columns
        if ColumnRef("validated", name) not in secret and name != time and made_of.get(name.lower(), set()) & raw
    }

    judged = [name for name in own if name not in {target, time, *LINEAGE}]
    statement = read_statement(features.sql, features.path)
    findings, accused = [], set()
    for name in judged:
        if found := own[name] & secret:
            accused.add(name)
            why = _why(found, of_target, declared, target)
            remedy = f"compute it from what is known when a prediction is made, or leave it out of {features.path}"
            if found & of_target and not declared & of_target and len(of_target) > 1:
                remedy += "; if only some columns of the target are unknown then, name those in unknown_at_prediction"
            node = _origin(statement, name)
            words = f"the feature {name} (`{_shown(statement, node)}`) is computed from {why}"
            findings.append(Finding(f"lineage:{name}", words, remedy, features.path, *statement.place(node)))
    cleaning = read_statement(clean.sql, clean.path)
    for name, sources in kin.items():
        users = [each for each in judged if ColumnRef("validated", name) in own[each] and each not in accused]
        if users:
            accused.update(users)
            node = _origin(cleaning, name)
            same = {ref for ref in secret if ref.table == "validated" and _behind(ref.column, made_of) & sources}
            words = (
                f"{name} (`{_shown(cleaning, node)}`), from which {', '.join(users)} comes, is made of the raw column "
                f"{', '.join(sorted(sources))}, like {_why(same, of_target, declared, target)}"
            )
            remedy = f"compute it from what is known, or leave {', '.join(users)} out of {features.path}"
            findings.append(Finding(f"lineage:{name}", words, remedy, clean.path, *cleaning.place(node)))
    hidden = frozenset(ref.column for ref in secret if ref.table == "validated")
    older = frozenset(name for name in judged if name not in accused and every[name] & secret)
    return Traced(tuple(findings), frozenset(accused), hidden, older)


def unknown_columns(name: str, columns: Sequence[str], references: Mapping[str, Sequence[str]]) -> str:
    """What is wrong with a name that was declared unknown at prediction; "" where it is a column.

    Args:
        name: as declared.
        columns: of `validated`.
        references: the columns that features.sql asks of each reference.
    """
    known = [*columns, *(f"{table}.{column}" for table, names in references.items() for column in names)]
    if name.lower() in {each.lower() for each in known}:
        return ""
    return f"{name!r} is no column of the schema or of a reference; {nearest(name, known)}"


def unmatched_waiver(name: str, traced: Traced, features: Sequence[str]) -> str:
    """What is wrong with a waiver that can match nothing; "" where it can.

    What lineage finds is known without data: of that, a waiver must name a finding. Of the other ways it must name a
    feature, for what they find hangs on the rows.
    """
    possible = [finding.name for finding in traced.findings] + [BOTH_SIDES]
    possible += [f"{way}:{feature}" for way in OF_A_FEATURE for feature in features]
    return "" if name in possible else f"{name!r} waives nothing: there is no such finding; {nearest(name, possible)}"


def _references(inputs: Mapping[str, Sequence[str]]) -> dict[str, ColumnRef]:
    """How a column is written in a declaration: plain if it is of `validated`, else with its table."""
    return {
        column if table == "validated" else f"{table}.{column}": ColumnRef(table, column)
        for table, columns in inputs.items()
        for column in columns
    }


def _raw_columns(clean: Script, columns: Sequence[str]) -> dict[str, set[str]]:
    """Column of `validated`, lower case → the raw columns behind its value."""
    # What a star brings is not known without rows: then a column has the name it has in raw.
    mentioned = required_columns(clean.sql, "raw", where=clean.path)
    spelled = {name.lower(): name for name in (*columns, *mentioned, *LINEAGE, "_ingested_at")}
    found = column_lineage(clean.sql, {"raw": list(spelled.values())}, where=clean.path, without={"earlier"})
    return {
        name.lower(): {ref.column for ref in refs if ref.column not in {*LINEAGE, "_ingested_at"}}
        for name, refs in found.items()
    }


def _behind(column: str, made_of: Mapping[str, set[str]]) -> set[str]:
    """The raw columns that a secret one comes from: the one of its name where there is one, else all."""
    sources = made_of.get(column.lower(), set())
    return {name for name in sources if name.lower() == column.lower()} or sources


def _written(ref: ColumnRef) -> str:
    return ref.column if ref.table == "validated" else f"{ref.table}.{ref.column}"


def _why(
    found: Collection[ColumnRef], of_target: Collection[ColumnRef], declared: Collection[ColumnRef], target: str
) -> str:
    """The columns that are not known, and why each is not."""
    reasons = []
    if told := sorted(_written(ref) for ref in found if ref in of_target and ref not in declared):
        made = "which is the target" if told == [target] else f"from which the target {target} is computed"
        reasons.append(f"{', '.join(told)}, {made}")
    if told := sorted(_written(ref) for ref in found if ref in declared):
        reasons.append(f"{', '.join(told)}, declared unknown at prediction")
    return "; and ".join(reasons)


def _origin(statement: Statement, name: str) -> exp.Expr:
    """The expression that makes an output column: followed through CTEs and subqueries that only pass it on."""
    from sqlglot import exp

    item: exp.Expr = statement.tree
    selects = list(statement.tree.find_all(exp.Select, bfs=True))
    for _ in selects:
        made = [
            each
            for select in selects
            for each in select.expressions
            if each.alias_or_name.lower() == name.lower() and each is not item
        ]
        if not made:
            break
        item = next((each for each in made if each.unalias().key != "column"), made[0])
        passed_on = item.unalias()
        if passed_on.key != "column" or passed_on.name.lower() == name.lower():
            break
        name = passed_on.name
    return item


def _shown(statement: Statement, node: exp.Expr) -> str:
    text = node.unalias().sql("duckdb") if node is not statement.tree else statement.text(node)
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004 - what fits in a message


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
    changed = []
    for name in hidden:
        values = rows[name]
        if name in kept.columns and values.drop_nulls().n_unique() > 1 and not values.dtype.is_nested():
            lower = kept[name] <= values.drop_nulls().sort()[(values.len() - values.null_count() - 1) // 2]
            ends = pl.lit(values.max(), dtype=values.dtype), pl.lit(values.min(), dtype=values.dtype)
            far = pl.select(pl.when(lower).then(ends[0]).otherwise(ends[1])).to_series()
            changed.append(pl.when(now & kept[name].is_not_null()).then(far).otherwise(kept[name]).alias(name))
    return kept.with_columns(changed)


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
) -> list[Finding]:
    """What the rows show: a feature that alone tells the target or names rows, rows on both sides of the split.

    Args:
        train, test: the rows a model learns from and those that judge it.
        kinds: feature → `number`, `category`, `date` or `text`.
        target: its name.
        task: what it is predicted as.
        spared: features that need not be looked at one by one: they are accused already, or hold older targets.
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
        elif words := _tells_all(learnt[name], learnt[target], judged[name], judged[target], task):
            remedy = "find out where its values come from; leave it out if they are not known before the target"
            findings.append(Finding(f"alone:{name}", f"the feature {name} alone {words}", remedy))
    return findings + _on_both_sides(train, test, [*kinds, target])


def _some(rows: pl.DataFrame) -> pl.DataFrame:
    """At most so many rows, spread evenly over all."""
    return rows.gather_every(-(-rows.height // ROWS)) if rows.height > ROWS else rows


def _tells_all(learnt: pl.Series, told: pl.Series, asked: pl.Series, actual: pl.Series, task: Task) -> str:
    """How well one feature alone tells the target of new rows, in words; "" where that is no suspicion."""
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
    return values.cast(pl.Float64).to_numpy()


def told_by_tree(task: Task, learnt: Values, told: Values, asked: Values, actual: Values) -> float:
    """What a tree on one column tells of the target in rows that it has not seen.

    Args:
        task: `regression`, or a classification.
        learnt, told: values of the column and the target, shape (n,). A missing value is NaN, and a value like others.
        asked, actual: the same of new rows, shape (m,).

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
    if len(labels) < 2 or len(np.unique(told)) < 2 or times.min() < FEWEST_OF_A_LABEL:  # noqa: PLR2004 - two to tell apart
        return 0.0
    said = DecisionTreeClassifier(**options, class_weight="balanced").fit(first, told).predict(then)
    return float(recall_score(actual, said, average="macro", labels=labels, zero_division=0))


def told_by_line(learnt: Values, told: Values, asked: Values, actual: Values) -> tuple[float, float]:
    """What a straight line through one column and the target tells in rows that it has not seen.

    Args:
        learnt, told: values of the column and the target, shape (n,). Rows where one is missing are left out.
        asked, actual: the same of new rows, shape (m,).

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
    if values.dtype.is_integer() and isinstance(lowest, int) and isinstance(highest, int):
        # Dense and each once: counted, not measured.
        if highest - lowest < 2 * there.len():
            return f"runs from {lowest} to {highest}, each number once: it counts rows"
    return ""


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
