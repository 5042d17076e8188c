"""Which rows pass a schema, and every reason why the others do not.

The schema is a `pandera.polars.DataFrameModel`, but pandera alone would lose rows here: one value that does not coerce
cancels all coercion, and a lazy frame is not checked row by row. So values are cast first, without stopping, a failed
cast being a reason of its own; then the schema judges the cast frame. Uniqueness is judged over the partition, so that
a partition has the same verdict alone and within a range.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml_assets.core.partitioning import in_utc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl
    from pandera.polars import DataFrameModel, DataFrameSchema

    CheckNames = Mapping[tuple[str | None, str | int], str]

ROWS = "rows"
WELL_FORMED = f"{ROWS}__well_formed"
IN_PARTITION = f"{ROWS}__in_partition"
# These two are not the schema's: the asset adds them, and no check of a schema may take their names.
ACCOUNTED = f"{ROWS}__accounted_for"
SHARE = f"{ROWS}__quarantine_share"
MALFORMED = "_malformed"
# ISO 8601, extended format; a leap second is no moment of the calendar that is kept here.
MOMENT = (
    r"^(?<day>\d{4}-\d{2}-\d{2})"
    r"(?:[T ](?<clock>\d{2}:\d{2})(?<second>:[0-5]\d(?:\.\d{1,6})?)?(?<zone>Z|[+-]\d{2}:\d{2})?)?$"
)


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
    columns = tuple(
        ColumnOutline(name, str(column.dtype), bool(column.nullable), column.description or column.title or "")
        for name, column in schema.columns.items()
    )
    return SchemaOutline(columns, tuple(_checks(schema).values()))


def is_row_by_row(model: type[DataFrameModel]) -> bool:
    """Whether a schema judges each row by itself, uniqueness aside: pandera's own checks do, of others nobody knows."""
    from pandera.api.function_dispatch import Dispatcher

    schema = model.to_schema()
    checks = [*schema.checks, *(check for column in schema.columns.values() for check in column.checks)]
    return all(
        check.element_wise or (isinstance(check._check_fn, Dispatcher) and check.name != "unique_values_eq")  # noqa: SLF001
        for check in checks
    )


def unique_keys(rows: pl.DataFrame, model: type[DataFrameModel], timezone: str = "UTC") -> dict[str, pl.DataFrame]:
    """What a schema wants to be unique, cast to its types: check → the key's columns, null where one does not cast.

    Raises:
        FileFailure: if a column is missing, or of a type that is not read as the schema's.
    """
    schema = model.to_schema()
    names = {key: check.name for key, check in _checks(schema).items()}
    _refuse_missing_columns(rows, schema, model)
    return {check: _cast_columns_of(rows, schema, parts, timezone) for check, _, parts in _unique(schema, names)}


def judge(
    rows: pl.DataFrame,
    model: type[DataFrameModel],
    *,
    time: str,
    carried: Sequence[str],
    timezone: str = "UTC",
    repeated: Mapping[str, pl.Series] | None = None,
) -> Verdict:
    """Judge every row of a frame.

    Args:
        rows: one row per source row: the schema's columns, of any type that can be cast, and those carried along, with
            `_partition`, `_partition_end` (UTC datetimes) and `_malformed` (None, or what is wrong with the line).
        model: the schema.
        time: the column whose value must lie in the row's partition; "" where partitions have no time.
        carried: columns outside the schema that passed rows keep.
        timezone: the zone that times without one are meant in.
        repeated: where the rows are only a piece of their partition: check of uniqueness → whether a row's key is there
            more than once in all of it, shape (n,).

    Returns:
        The verdict. `passed.height + failed.height == rows.height`, always.

    Raises:
        FileFailure: if the rows cannot be judged: the column or check is named.
    """
    import polars as pl

    schema = model.to_schema()
    names = {key: check.name for key, check in _checks(schema).items()}
    if time and time not in schema.columns:
        raise FileFailure(f"the schema {model.__name__} has no column {time!r}, which holds the row's time")
    _refuse_missing_columns(rows, schema, model)
    cast, reasons = _cast(rows, schema, names, timezone)
    reasons += _line_reasons(rows, cast, time, timezone)
    reasons += _uniqueness_reasons(cast, rows, schema, names, repeated)
    not_cast = (
        pl.concat([frame.select("index", "column") for frame in reasons if frame.height], how="vertical")
        if any(frame.height for frame in reasons)
        else None
    )
    reasons += _pandera_reasons(cast, schema, names, not_cast)
    flat = pl.concat(reasons, how="vertical") if reasons else None
    failures = dict.fromkeys(names.values(), 0)
    if flat is None or flat.height == 0:
        empty = pl.DataFrame(schema={"index": pl.UInt32, "reasons": pl.List(_REASON(pl))})
        return Verdict(cast.with_columns(rows.select(carried)), empty, failures)
    failures |= dict(flat.group_by("check").agg(pl.col("index").n_unique()).iter_rows())
    failed = (
        flat.sort("index", "check")
        .group_by("index", maintain_order=True)
        .agg(pl.struct("check", "column", "value").alias("reasons"))
    )
    ok = pl.repeat(value=True, n=rows.height, eager=True).scatter(failed["index"], False)
    return Verdict(cast.with_columns(rows.select(carried)).filter(ok), failed, failures)


def _refuse_missing_columns(rows: pl.DataFrame, schema: DataFrameSchema, model: type[DataFrameModel]) -> None:
    missing = [name for name in schema.columns if name not in rows.columns]
    if missing:
        raise FileFailure(
            f"the schema {model.__name__} has the column {missing[0]!r}, which clean.sql does not return. "
            f"It returns: {', '.join(name for name in rows.columns if not name.startswith('_'))}"
        )


def _REASON(pl: Any) -> Any:  # noqa: N802 - a constant that needs polars
    return pl.Struct({"check": pl.String, "column": pl.String, "value": pl.String})


def _cast(
    rows: pl.DataFrame, schema: DataFrameSchema, names: CheckNames, timezone: str
) -> tuple[pl.DataFrame, list[pl.DataFrame]]:
    """The schema's columns in its types, null where a value does not cast, and a reason for each of those."""
    columns = list(schema.columns)
    old, cast = rows.select(columns), _cast_columns_of(rows, schema, columns, timezone)
    reasons = []
    for name in columns:
        lost = _lost(old[name], cast[name])
        if len(lost):
            values = _with_skipped(old[name].gather(lost), schema.columns[name].dtype.type, timezone)
            reasons.append(_reasons(lost, names[name, "cast"], name, values))
    return cast, reasons


def _with_skipped(values: pl.Series, dtype: Any, timezone: str) -> pl.Series:
    """Values that were not read; beside a local time that looks good, that the clocks of the zone skip it."""
    import polars as pl

    if values.dtype != pl.String or dtype != pl.Datetime:
        return values
    # In UTC no time is skipped: what is read there, and not here, never was here.
    skipped = cast_column(values, dtype, "UTC").is_not_null()
    told = pl.format(f"{{}} (not a time in {timezone}: the clocks skip it)", values)
    return pl.select(pl.when(skipped).then(told).otherwise(values)).to_series()


def _cast_columns_of(
    rows: pl.DataFrame, schema: DataFrameSchema, columns: Sequence[str], timezone: str
) -> pl.DataFrame:
    """Some of the schema's columns in its types, null where a value does not cast."""
    import polars as pl

    types = {name: schema.columns[name].dtype.type for name in columns}
    try:
        return cast_columns(rows, types, timezone)
    except pl.exceptions.InvalidOperationError:
        for name, dtype in types.items():
            try:
                cast_column(rows[name], dtype, timezone)
            except pl.exceptions.InvalidOperationError as error:
                raise FileFailure(
                    f"schema {schema.name}, {name}: {rows[name].dtype} is not read as {schema.columns[name].dtype}: "
                    f"{str(error).splitlines()[0]}. Remedy: convert the column in clean.sql"
                ) from error
        raise


def cast_column(values: pl.Series, dtype: Any, timezone: str = "UTC") -> pl.Series:
    """Values in another type; null where a value is not exactly one of that type.

    Nothing is rounded, cut off or wrapped: "12.7" is no integer, 2 no boolean, noon no date, and neither NaN nor
    infinity a number; only where fractions become floats is the nearest one taken. Dates and times are read as ISO
    8601, without an offset as local times of the zone; of a local time that comes twice the first is meant, one that
    the clocks skip is none. Booleans are true/false, yes/no, t/f, y/n, 1/0 in any case. Blanks around text are no part
    of the value.
    """
    return cast_columns(values.to_frame(), {values.name: dtype}, timezone).to_series()


def cast_columns(rows: pl.DataFrame, types: Mapping[str, Any], timezone: str = "UTC") -> pl.DataFrame:
    """Columns in other types, all at once: name → type. See `cast_column`."""
    import polars as pl

    schema = rows.schema
    cast = rows.select(
        _cast_to(pl.col(name), schema[name], dtype, timezone).alias(name) for name, dtype in types.items()
    )
    found = []
    for name, dtype in types.items():
        # Blanks around a value are rare: only what was not read is looked at again, without them.
        lost = _lost(rows[name], cast[name]) if schema[name] == pl.String else ()
        if len(lost):
            bare = rows.select(pl.col(name).gather(lost).str.strip_chars())
            values = bare.select(_cast_to(pl.col(name), pl.String(), dtype, timezone, again=True)).to_series()
            if values.null_count() < len(values):
                found.append(cast[name].scatter(lost, values))
    return cast.with_columns(found)


def _lost(old: pl.Series, new: pl.Series) -> pl.Series:
    """The positions of values that became null."""
    import polars as pl

    if new.null_count() == old.null_count():
        return pl.Series(dtype=pl.UInt32)
    return (new.is_null() & old.is_not_null()).arg_true()


def _cast_to(values: pl.Expr, old: pl.DataType, dtype: Any, timezone: str, *, again: bool = False) -> pl.Expr:
    import polars as pl

    if old == dtype:
        return _finite(values, old)
    if old == pl.String:
        return _read(values, dtype, timezone, again=again)
    if old.is_temporal() != dtype.is_temporal() and dtype != pl.String and old != pl.Null:
        # A number is no date: polars would take it for days since 1970.
        return pl.repeat(None, pl.len(), dtype=dtype)
    new = values.cast(dtype, strict=False)
    nearest = dtype.is_float() and (old.is_float() or old.is_decimal())
    if not nearest and dtype != pl.String:
        new = pl.when(new.cast(old, strict=False) == values).then(new)
    return _finite(new, dtype)


def _read(text: pl.Expr, dtype: Any, timezone: str, *, again: bool) -> pl.Expr:
    """Text in another type, each value by itself: polars would guess one format of a moment for the whole column.

    Args:
        text: without blanks around it.
        dtype: the type.
        timezone: of local times.
        again: whether it has been read before, quickly, and nothing came of it.
    """
    import polars as pl

    if dtype == pl.Date:
        day = text.str.to_date("%Y-%m-%d", strict=False)
        return pl.when(text.str.contains(r"^\d{4}-\d{2}-\d{2}$")).then(day)
    if dtype == pl.Datetime:
        if again:
            moment = _moment(text, timezone)
        else:  # days alone are read much quicker
            midnight = _read(text, pl.Date, timezone, again=again).cast(pl.Datetime("us"))
            moment = midnight.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
        if getattr(dtype, "time_zone", None):
            return _cast_to(moment, pl.Datetime("us", timezone), dtype, timezone)
        return _cast_to(moment.dt.replace_time_zone(None), pl.Datetime("us"), dtype, timezone)
    if dtype == pl.Boolean:
        words = {"true": True, "t": True, "yes": True, "y": True, "1": True}
        words |= {"false": False, "f": False, "no": False, "n": False, "0": False}
        return text.str.to_lowercase().replace_strict(words, default=None, return_dtype=pl.Boolean)
    new = text.cast(dtype, strict=False)
    if isinstance(dtype, pl.Decimal):
        new = pl.when(~text.str.contains(rf"\.\d{{{dtype.scale}}}\d*[1-9]")).then(new)
    return _finite(new, dtype)


def _moment(text: pl.Expr, timezone: str) -> pl.Expr:
    """Text as moments in a zone, each as it is written: with or without a clock, seconds, an offset."""
    import polars as pl

    parts = text.str.extract_groups(MOMENT).struct
    written = parts.field("day") + "T" + parts.field("clock").fill_null("00:00")
    written += parts.field("second").fill_null(":00")
    offset = parts.field("zone").replace("Z", "+00:00")
    moment = (written + offset).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", strict=False, time_unit="us", time_zone="UTC")
    local = written.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us")
    local = pl.when(offset.is_null()).then(local)
    local = local.dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
    return moment.dt.convert_time_zone(timezone).fill_null(local)


def _finite(values: pl.Expr, dtype: Any) -> pl.Expr:
    import polars as pl

    return pl.when(values.is_finite()).then(values) if dtype.is_float() else values


def _line_reasons(rows: pl.DataFrame, cast: pl.DataFrame, time: str, timezone: str) -> list[pl.DataFrame]:
    """Reasons of the line itself: the wrong number of fields, or a time outside the partition of its file."""
    import polars as pl

    malformed = rows[MALFORMED].is_not_null()
    found = []
    if malformed.any():
        found.append(
            _reasons(pl.arg_where(malformed, eager=True), WELL_FORMED, None, rows[MALFORMED].filter(malformed))
        )
    if not time:
        return found
    # A time that the schema itself takes, but that never was in this zone, is outside too.
    when = in_utc(cast[time], timezone)
    outside = ((when < rows["_partition"]) | (when >= rows["_partition_end"]) | when.is_null()) & cast[
        time
    ].is_not_null()
    if outside.any():
        found.append(_reasons(pl.arg_where(outside, eager=True), IN_PARTITION, time, cast[time].filter(outside)))
    return found


def _uniqueness_reasons(
    cast: pl.DataFrame,
    rows: pl.DataFrame,
    schema: DataFrameSchema,
    names: CheckNames,
    repeated: Mapping[str, pl.Series] | None,
) -> list[pl.DataFrame]:
    """Every copy of a key that is there more than once in its partition; rows with a null in the key are not judged."""
    import polars as pl

    found = []
    for check, column, parts in _unique(schema, names):
        key = cast.select(parts)
        if repeated is None:
            whole = key.select(pl.all_horizontal(pl.all().is_not_null())).to_series()
            # Most keys are there once in all partitions together, which is quicker to see: only the others are looked
            # at with their partition.
            twice = key.to_series().is_duplicated() if len(parts) == 1 else key.is_duplicated()
            at = (twice & whole).arg_true()
            at = at.filter(key[at].with_columns(rows["_partition"].gather(at)).is_duplicated())
        else:
            at = repeated[check].arg_true()
        if len(at):
            values = key[at].select(pl.concat_str(pl.col(parts).cast(pl.String), separator=" · ")).to_series()
            found.append(_reasons(at, check, column, values))
    return found


def _unique(schema: DataFrameSchema, names: CheckNames) -> list[tuple[str, str | None, list[str]]]:
    """What must be unique: check, column (None for several), the key's columns."""
    keys: list[tuple[str, str | None, list[str]]] = [
        (names[name, "unique"], name, [name]) for name, column in schema.columns.items() if column.unique
    ]
    if schema.unique:
        keys.append((names[None, "unique"], None, list(schema.unique)))
    return keys


def _pandera_reasons(
    cast: pl.DataFrame, schema: DataFrameSchema, names: CheckNames, told: pl.DataFrame | None
) -> list[pl.DataFrame]:
    """What the schema's own checks say. A null that a failed cast left is not told twice."""
    import pandera.errors

    try:
        _checks_only(schema).validate(cast, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        for error in errors.schema_errors:
            _refuse_failure_of_the_file(error, cast, schema.name)
        cases = errors.failure_cases
    else:
        return []
    found = []
    for (context, column, number), group in cases.group_by(
        ["schema_context", "column", "check_number"], maintain_order=True
    ):
        key = None if context == "DataFrameSchema" else str(column)
        label = names[key, "not_null" if number is None else int(number)]
        reasons = _reasons(group["index"], label, key, group["failure_case"])
        if number is None and told is not None:
            reasons = reasons.join(told, on=["index", "column"], how="anti")
        found.append(reasons)
    return [frame.select("index", "check", "column", "value") for frame in found]


def _refuse_failure_of_the_file(error: Any, cast: pl.DataFrame, name: str) -> None:
    by_row = error.reason_code.name in {"DATAFRAME_CHECK", "SERIES_CONTAINS_NULLS"}
    of_rows = by_row and _is_row_by_row(error, cast)
    if not of_rows:
        what = "a check on the whole column fails, so no row can be blamed" if by_row else str(error)
        raise FileFailure(f"schema {name}, {error.schema.name or 'rows'}: {what}. Check: {error.check}")


def _is_row_by_row(error: Any, cast: pl.DataFrame) -> bool:
    """Whether a failed check gave one answer for each row."""
    import polars as pl

    output = error.check_output
    if cast.height != 1 or error.reason_code.name != "DATAFRAME_CHECK":
        return output is None or output.height == cast.height
    # Of one row, an answer for the whole column looks like one for the row: ask about two.
    column = error.schema.name if error.schema.name in cast.columns else None
    answer = error.check(pl.concat([cast, cast]).lazy(), column).check_output
    return bool(answer.collect().height == 2)  # noqa: PLR2004 - two rows


def _checks_only(schema: DataFrameSchema) -> DataFrameSchema:
    """The schema without uniqueness, which is judged by partition, and without coercion, which is done."""
    checks = [_told_whole(check) for check in schema.checks]
    fresh = type(schema)(
        {name: column.set_name(name) for name, column in schema.columns.items()}, checks=checks, name=schema.name
    )
    for column in fresh.columns.values():
        column.unique = False
        column.coerce = False
        column.checks = [_told_whole(check) for check in column.checks]
    return fresh


def _told_whole(check: Any) -> Any:
    """A check that names every failing row: one that stops after a few would let the others pass."""
    told = copy.copy(check)
    told.n_failure_cases = None
    return told


def _reasons(index: pl.Series, check: str, column: str | None, values: pl.Series) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame({"index": index.cast(pl.UInt32), "value": values.cast(pl.String)}).select(
        "index",
        pl.lit(check).alias("check"),
        pl.lit(column, dtype=pl.String).alias("column"),
        pl.col("value"),
    )


def _checks(schema: DataFrameSchema) -> dict[tuple[str | None, str | int], CheckOutline]:
    """What a schema demands, in order: (column, or None for whole rows; rule, or the check's number) → check.

    Columns and checks may be called anything, so two names can come out alike: the later one gets a number.
    """
    found: dict[tuple[str | None, str | int], CheckOutline] = {}
    taken = {WELL_FORMED, IN_PARTITION, ACCOUNTED, SHARE}

    def add(column: str | None, rule: str | int, words: str, description: str) -> None:
        stem = name = f"{_slug(ROWS if column is None else column)}__{_slug(words)}"
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}_{number}"
        taken.add(name)
        found[column, rule] = CheckOutline(name, column, description)

    def add_declared(column: str | None, checks: Sequence[Any]) -> None:
        for number, check in enumerate(checks):
            add(column, number, check.name or f"check_{number}", check.description or check.error or str(check.name))

    for name, column in schema.columns.items():
        add(name, "cast", "cast", f"every value of {name} reads as {column.dtype}")
        if not column.nullable:
            add(name, "not_null", "not_null", f"{name} is never missing")
        if column.unique:
            add(name, "unique", "unique", f"no two rows of a partition share {name}")
        add_declared(name, column.checks)
    add_declared(None, schema.checks)
    if schema.unique:
        add(None, "unique", "unique", f"no two rows of a partition share {', '.join(schema.unique)}")
    found[None, WELL_FORMED] = CheckOutline(WELL_FORMED, None, "the line has as many fields as the header")
    found[None, IN_PARTITION] = CheckOutline(
        IN_PARTITION, None, "the row's time lies in the partition whose file it stood in"
    )
    return found


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_") or "column"


def reasons_in_words(failures: Mapping[str, int], examples: Mapping[str, str | None] | None = None) -> str:
    """The checks that rows fail, most rows first: `town__isin 3, resale_price__cast 1`.

    Args:
        failures: check → rows that fail it.
        examples: check → a value that fails it, None where it is missing, to be told too: `town__isin 3 ('NORTH')`.
    """
    shown = {name: "missing" if value is None else repr(value[:40]) for name, value in (examples or {}).items()}
    return ", ".join(
        f"{name} {count} ({shown[name]})" if name in shown else f"{name} {count}"
        for name, count in sorted(failures.items(), key=lambda item: -item[1])
        if count
    )
