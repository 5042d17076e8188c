"""Which rows pass a schema, and every reason why the others do not.

The schema is a `pandera.polars.DataFrameModel`, but pandera alone would lose rows here: one value that does not coerce
cancels all coercion, and a lazy frame is not checked row by row. So values are cast first, without stopping, a failed
cast being a reason of its own; then the schema judges the cast frame. Uniqueness is judged over the partition, so that
a partition has the same verdict alone and within a range.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl
    from pandera.polars import DataFrameModel, DataFrameSchema

ROWS = "rows"
WELL_FORMED = f"{ROWS}__well_formed"
IN_PARTITION = f"{ROWS}__in_partition"
MALFORMED = "_malformed"


class FileFailure(Exception):  # noqa: N818 - a failure of the file, as opposed to one of a row
    """The rows cannot be judged at all: a column is missing, a check raises, a whole-column check fails."""


@dataclass(frozen=True)
class CheckOutline:
    """One check of a schema.

    Attributes:
        name: unique within the schema, letters, digits and underscores: `town__isin`.
        column: the column it judges, or None for a check on whole rows.
        description: what it demands, for people.
    """

    name: str
    column: str | None
    description: str


@dataclass(frozen=True)
class ColumnOutline:
    """One column of a schema.

    Attributes:
        name: the column's name.
        dtype: its polars type, as text.
        nullable: whether it may be missing.
        description: what it is, from the schema.
    """

    name: str
    dtype: str
    nullable: bool
    description: str


@dataclass(frozen=True)
class SchemaOutline:
    """What a schema demands, as plain text: enough to build asset checks without importing pandera."""

    columns: tuple[ColumnOutline, ...]
    checks: tuple[CheckOutline, ...]


@dataclass(frozen=True)
class Verdict:
    """The rows of a frame, judged.

    Attributes:
        passed: rows that pass, cast to the schema's types, with the columns that were carried along.
        failed: positions (UInt32 `index`) of rows that do not, and their `reasons`: a list of structs (check, column,
            value), one for each check that the row fails.
        failures: check name → rows that fail it; every check of the schema is named, also with zero.
    """

    passed: pl.DataFrame
    failed: pl.DataFrame
    failures: dict[str, int]


def outline(model: type[DataFrameModel]) -> SchemaOutline:
    """The columns and checks of a schema, in order."""
    schema = model.to_schema()
    columns, checks = [], []
    for name, column in schema.columns.items():
        text = column.description or column.title or ""
        columns.append(ColumnOutline(name, str(column.dtype), bool(column.nullable), text))
        checks.append(CheckOutline(f"{_slug(name)}__cast", name, f"every value of {name} reads as {column.dtype}"))
        if not column.nullable:
            checks.append(CheckOutline(_not_null(name), name, f"{name} is never missing"))
        if column.unique:
            checks.append(CheckOutline(_unique(name), name, f"no two rows of a partition share {name}"))
        checks += [
            CheckOutline(_check_name(name, check, number), name, check.description or check.error or str(check.name))
            for number, check in enumerate(column.checks)
        ]
    for number, check in enumerate(schema.checks):
        text = check.description or check.error or str(check.name)
        checks.append(CheckOutline(_check_name(ROWS, check, number), None, text))
    if schema.unique:
        listed = ", ".join(schema.unique)
        checks.append(CheckOutline(_unique(ROWS), None, f"no two rows of a partition share {listed}"))
    checks.append(CheckOutline(WELL_FORMED, None, "the line has as many fields as the header"))
    checks.append(CheckOutline(IN_PARTITION, None, "the row's time lies in the partition whose file it stood in"))
    return SchemaOutline(tuple(columns), tuple(checks))


def judge(rows: pl.DataFrame, model: type[DataFrameModel], *, time: str, carried: Sequence[str]) -> Verdict:
    """Judge every row of a frame.

    Args:
        rows: one row per source row: the schema's columns, of any type that can be cast, and those carried along, with
            `_partition`, `_partition_end` (UTC datetimes) and `_malformed` (None, or what is wrong with the line).
        model: the schema.
        time: the column whose value must lie in the row's partition.
        carried: columns outside the schema that passed rows keep.

    Returns:
        The verdict. `passed.height + failed.height == rows.height`, always.

    Raises:
        FileFailure: if the rows cannot be judged: the column or check is named.
    """
    import polars as pl

    schema = model.to_schema()
    missing = [name for name in schema.columns if name not in rows.columns]
    if missing:
        raise FileFailure(
            f"the schema {model.__name__} has the column {missing[0]!r}, which clean.sql does not return. "
            f"It returns: {', '.join(name for name in rows.columns if not name.startswith('_'))}"
        )
    cast, reasons = _cast(rows, schema)
    reasons += _line_reasons(rows, cast, time)
    reasons += _uniqueness_reasons(cast, rows, schema)
    not_cast = (
        pl.concat([frame.select("index", "column") for frame in reasons if frame.height], how="vertical")
        if any(frame.height for frame in reasons)
        else None
    )
    reasons += _pandera_reasons(cast, schema, model.__name__, not_cast)
    flat = pl.concat(reasons, how="vertical") if reasons else None
    failures = {check.name: 0 for check in outline(model).checks}
    if flat is None or flat.height == 0:
        empty = pl.DataFrame(schema={"index": pl.UInt32, "reasons": pl.List(_REASON(pl))})
        return Verdict(cast.with_columns(rows.select(carried)), empty, failures)
    failures |= dict(flat.group_by("check").agg(pl.col("index").n_unique()).iter_rows())
    failed = (
        flat.sort("index", "check")
        .group_by("index", maintain_order=True)
        .agg(pl.struct("check", "column", "value").alias("reasons"))
    )
    ok = ~pl.int_range(rows.height, dtype=pl.UInt32).is_in(failed["index"].implode())
    return Verdict(cast.with_columns(rows.select(carried)).filter(ok), failed, failures)


def _REASON(pl: Any) -> Any:  # noqa: N802 - a constant that needs polars
    return pl.Struct({"check": pl.String, "column": pl.String, "value": pl.String})


def _cast(rows: pl.DataFrame, schema: DataFrameSchema) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """The schema's columns in its types, null where a value does not cast, and a reason for each of those."""
    import polars as pl

    cast: dict[str, pl.Series] = {}
    reasons = []
    for name, column in schema.columns.items():
        old = rows[name]
        new = cast[name] = cast_column(old, column.dtype.type)
        lost = new.is_null() & old.is_not_null()
        if lost.any():
            reasons.append(_reasons(pl.arg_where(lost, eager=True), f"{_slug(name)}__cast", name, old.filter(lost)))
    return pl.DataFrame(cast), reasons


def cast_column(values: pl.Series, dtype: Any) -> pl.Series:
    """Values in another type; null where a value is not exactly one of that type.

    Nothing is rounded or wrapped: "12.7" is no integer, and neither NaN nor infinity is a number. Dates and times are
    read as ISO 8601; booleans as true/false, yes/no, t/f, y/n, 1/0 in any case.
    """
    import polars as pl

    if values.dtype == dtype:
        return _finite(values)
    if values.dtype == pl.String:
        text = values.str.strip_chars()
        if dtype == pl.Date:
            return text.str.to_date("%Y-%m-%d", strict=False)
        if isinstance(dtype, pl.Datetime) or dtype == pl.Datetime:
            return text.str.to_datetime(strict=False).cast(dtype, strict=False)
        if dtype == pl.Boolean:
            words = {"true": True, "t": True, "yes": True, "y": True, "1": True}
            words |= {"false": False, "f": False, "no": False, "n": False, "0": False}
            return text.str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.Boolean)
        return _finite(text.cast(dtype, strict=False))
    new = values.cast(dtype, strict=False)
    if values.dtype.is_float() and new.dtype.is_integer():
        exact = new.cast(values.dtype) == values
        new = pl.select(pl.when(exact).then(new)).to_series().alias(values.name)
    return _finite(new)


def _finite(values: pl.Series) -> pl.Series:
    import polars as pl

    if not values.dtype.is_float():
        return values
    return pl.select(pl.when(values.is_finite()).then(values)).to_series().alias(values.name)


def _line_reasons(rows: pl.DataFrame, cast: pl.DataFrame, time: str) -> list[pl.DataFrame]:
    """Reasons of the line itself: the wrong number of fields, or a time outside the partition of its file."""
    import polars as pl

    malformed = rows[MALFORMED].is_not_null()
    when = cast[time].cast(pl.Datetime("us"))
    outside = ((when < rows["_partition"]) | (when >= rows["_partition_end"])).fill_null(value=False)
    found = []
    if malformed.any():
        found.append(
            _reasons(pl.arg_where(malformed, eager=True), WELL_FORMED, None, rows[MALFORMED].filter(malformed))
        )
    if outside.any():
        found.append(_reasons(pl.arg_where(outside, eager=True), IN_PARTITION, time, when.filter(outside)))
    return found


def _uniqueness_reasons(cast: pl.DataFrame, rows: pl.DataFrame, schema: DataFrameSchema) -> list[pl.DataFrame]:
    """Every copy of a key that is there more than once in its partition; rows with a null in the key are not judged."""
    import polars as pl

    keys: list[tuple[str, str | None, list[str]]] = [
        (_unique(name), name, [name]) for name, column in schema.columns.items() if column.unique
    ]
    if schema.unique:
        keys.append((_unique(ROWS), None, list(schema.unique)))
    found = []
    for check, column, names in keys:
        key = cast.select(names).with_columns(rows["_partition"])
        copies = key.is_duplicated() & ~key.select(pl.any_horizontal(pl.col(names).is_null())).to_series()
        if copies.any():
            values = (
                key.filter(copies).select(pl.concat_str(pl.col(names).cast(pl.String), separator=" · ")).to_series()
            )
            found.append(_reasons(pl.arg_where(copies, eager=True), check, column, values))
    return found


def _pandera_reasons(
    cast: pl.DataFrame, schema: DataFrameSchema, name: str, told: pl.DataFrame | None
) -> list[pl.DataFrame]:
    """What the schema's own checks say. A null that a failed cast left is not told twice."""
    import pandera.errors

    schema = _without_uniqueness(schema)
    try:
        schema.validate(cast, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        for error in errors.schema_errors:
            _refuse_failure_of_the_file(error, cast.height, name)
        cases = errors.failure_cases
    else:
        return []
    found = []
    for (context, column, number, check), group in cases.group_by(
        ["schema_context", "column", "check_number", "check"], maintain_order=True
    ):
        of_rows = context == "DataFrameSchema"
        if number is None:
            key, label = column, _not_null(str(column))
        elif of_rows:
            key, label = None, _check_name(ROWS, schema.checks[int(number)], int(number))
        else:
            key, label = column, _check_name(str(column), schema.columns[str(column)].checks[int(number)], int(number))
        reasons = _reasons(group["index"], label, None if key is None else str(key), group["failure_case"])
        if number is None and told is not None:
            reasons = reasons.join(told, on=["index", "column"], how="anti")
        found.append(reasons)
        if check is None:
            raise FileFailure(f"a check of the schema {name} has no name")
    return [frame.select("index", "check", "column", "value") for frame in found]


def _refuse_failure_of_the_file(error: Any, height: int, name: str) -> None:
    output = error.check_output
    whole_column = output is not None and output.height == 1 and height > 1
    by_row = error.reason_code.name in {"DATAFRAME_CHECK", "SERIES_CONTAINS_NULLS", "CHECK_ERROR"}
    if whole_column or error.reason_code.name == "CHECK_ERROR" or not by_row:
        what = "a check on the whole column fails, so no row can be blamed" if whole_column else str(error)
        raise FileFailure(f"schema {name}, {error.schema.name or 'rows'}: {what}. Check: {error.check}")


def _without_uniqueness(schema: DataFrameSchema) -> DataFrameSchema:
    copy = type(schema)(
        {name: column.set_name(name) for name, column in schema.columns.items()}, checks=schema.checks, name=schema.name
    )
    for column in copy.columns.values():
        column.unique = False
        column.coerce = False
    return copy


def _reasons(index: pl.Series, check: str, column: str | None, values: pl.Series) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame({"index": index.cast(pl.UInt32), "value": values.cast(pl.String)}).select(
        "index",
        pl.lit(check).alias("check"),
        pl.lit(column, dtype=pl.String).alias("column"),
        pl.col("value"),
    )


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_") or "column"


def _not_null(column: str) -> str:
    return f"{_slug(column)}__not_null"


def _unique(column: str) -> str:
    return f"{_slug(column)}__unique"


def _check_name(owner: str, check: Any, number: int) -> str:
    return f"{_slug(owner)}__{_slug(check.name or f'check_{number}')}"


def reasons_in_words(failures: Mapping[str, int]) -> str:
    """The checks that rows fail, most rows first: `town__isin 3, resale_price__cast 1`."""
    return ", ".join(f"{name} {count}" for name, count in sorted(failures.items(), key=lambda item: -item[1]) if count)
