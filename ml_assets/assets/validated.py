"""`validated` and `quarantine`: raw rows made readable and judged; each is accounted for, or nothing is written."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb

from ml_assets.assets.blocks import in_older_blocks, judged_otherwise, told_apart
from ml_assets.assets.common import (
    PIECE,
    SINGLE_RUN,
    Span,
    asset_key,
    commit_of,
    describe,
    in_pieces,
    partition_counts,
    run_sql,
    span_of,
    spec,
)
from ml_assets.assets.made_by import note_validated
from ml_assets.assets.references import read_references
from ml_assets.core.lineage import ColumnRef, column_lineage
from ml_assets.core.repetition import fingerprints, is_first, is_repeated
from ml_assets.core.showing import markdown_table, visible
from ml_assets.core.statement import is_row_wise
from ml_assets.core.validation import (
    ACCOUNTED,
    MALFORMED,
    SHARE,
    Verdict,
    is_row_by_row,
    judge,
    reasons_in_words,
    unique_keys,
)
from ml_assets.lake.connection import table_exists
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.sql import Piece
from ml_assets.lake.tables import (
    LINEAGE,
    WindowWriter,
    described,
    misfits,
    pieces_of,
    read_unchanged,
    refuse_misfits,
)
from ml_assets.project import Project
from ml_assets.schemas import forget_outline, load_schema, schema_outline, source_of

if TYPE_CHECKING:
    import polars as pl

SAMPLE = 5
WIDEST = 80
# Rows of a partition that is judged in pieces: below, reading it twice costs more than the memory is worth.
LARGE = 1_000_000


class AccountingError(Exception):
    """clean.sql lost or doubled a row; the message names the row."""


@dataclass(frozen=True)
class Judged:
    """The raw rows of a window, judged.

    Attributes:
        validated: rows that pass, with lineage.
        quarantine: raw rows that do not, with `_reasons`.
        duplicates: raw rows that repeat another of their partition, or of an older block, dropped.
        verdict: the checks' counts.
        raw: all raw rows.
    """

    validated: "pl.DataFrame"
    quarantine: "pl.DataFrame"
    duplicates: "pl.DataFrame"
    verdict: Verdict
    raw: "pl.DataFrame"


@dataclass(frozen=True)
class Seen:
    """What only the whole of a partition tells of its rows, in their order.

    Attributes:
        first: which raw rows are no duplicates, shape (n,).
        repeated: check of uniqueness → which rows have a key that another has too, shape (n,).
    """

    first: "pl.Series"
    repeated: "Mapping[str, pl.Series]"

    def part(self, at: int, rows: int) -> "Seen":
        """What it tells of some of them."""
        return Seen(self.first[at : at + rows], {check: one[at : at + rows] for check, one in self.repeated.items()})


@dataclass
class Tally:
    """What became of all rows of a run, added up piece by piece.

    Attributes:
        accounts: partition key → counts.
        failures: check → rows that fail it.
        samples: check → a few of them: file, row, column, value.
    """

    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[tuple[str, int, str, str | None]]] = field(default_factory=dict)

    def add(self, judged: Judged, accounts: Mapping[str, dict[str, Any]]) -> None:
        """Add a piece."""
        for partition, counts in accounts.items():
            before = self.accounts.get(partition, {})
            self.accounts[partition] = {name: count + before.get(name, 0) for name, count in counts.items()}
        for name, count in judged.verdict.failures.items():
            self.failures[name] = self.failures.get(name, 0) + count
        for name, sample in _samples(judged.quarantine).items():
            self.samples[name] = [*self.samples.get(name, ()), *sample][:SAMPLE]

    def rows(self, name: str) -> int:
        """All `raw`, `validated`, `quarantine` or `duplicates` rows."""
        return sum(account[f"{name}_rows"] for account in self.accounts.values())


def build_validated(project: Project) -> dg.AssetsDefinition:
    """The assets `validated` and `quarantine`, with a check for everything that the schema demands."""
    code = [
        project.clean_sql,
        source_of(project.schema),
        project.source.model_dump_json(include={"ignore_in_duplicates"}),
    ]
    outlined = schema_outline(project.schema)
    key = asset_key(project, "validated")
    checks = [dg.AssetCheckSpec(check.name, asset=key, description=check.description) for check in outlined.checks]
    checks += [
        dg.AssetCheckSpec(ACCOUNTED, asset=key, blocking=True, description="raw = validated + quarantine + duplicates"),
        dg.AssetCheckSpec(
            SHARE,
            asset=key,
            blocking=True,
            description=f"at most {project.validation.quarantine_limit:.0%} of the rows are in quarantine",
        ),
    ]

    @dg.multi_asset(
        name=f"{project.name}__validated",
        specs=[
            spec(
                project, "validated", "Rows that pass the schema.", deps=["raw"], kinds=["duckdb", "pandera"], code=code
            ),
            spec(
                project,
                "quarantine",
                "Raw rows that do not pass, each with all its reasons.",
                deps=["raw"],
                kinds=["duckdb", "pandera"],
                code=code,
            ),
        ],
        check_specs=checks,
        backfill_policy=SINGLE_RUN,
    )
    def validated(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[Any]:
        span = span_of(context, project, lake.lake)
        table = project.table("raw")
        tally = Tally()
        # Read and written in one transaction: what is validated is what is raw, whoever else refreshes the partition.
        with lake.lake.transaction(commit_of(context, project, "validated")) as transaction:
            cursor = transaction.cursor
            raw_columns = described(cursor, table)
            lineage = column_lineage(project.clean_sql, {"raw": raw_columns}, where=project.clean_path)
            with (
                WindowWriter(transaction, project.table("validated"), span.window) as passed,
                WindowWriter(transaction, project.table("quarantine"), span.window) as failed,
            ):
                for piece, judged in judge_span(project, cursor, span):
                    tally.add(judged, account(project, piece, judged))
                    passed.add(judged.validated)
                    failed.add(judged.quarantine)
                refuse_other_types(project, cursor, judged.validated.head(0))
            note_validated(project, transaction, span.window)
            newer = judged_otherwise(project, cursor, span.window.end)
            results = list(check_results(project, key, tally, [check.name for check in outlined.checks]))
        snapshot = transaction.snapshot
        lineage = {name: refs for name, refs in lineage.items() if name in judged.validated.columns}
        by_start = dict(zip(span.starts, tally.accounts.values(), strict=True))
        yield describe(
            context,
            project,
            lake.lake,
            "validated",
            {start: counts["validated_rows"] for start, counts in by_start.items()},
            snapshot=snapshot,
            span=span,
            more=tally.accounts,
            lineage=lineage,
            extra=in_question(project, newer),
        )
        kept = {name: frozenset({ColumnRef("raw", name)}) for name in raw_columns}
        words = {"reasons": reasons_in_words(tally.failures) or "none"}
        yield describe(
            context, project, lake.lake, "quarantine",
            {start: counts["quarantine_rows"] for start, counts in by_start.items()},
            snapshot=snapshot, span=span, more=tally.accounts, lineage=kept, extra=words,
        )  # fmt: skip
        yield from results

    return validated


def refuse_other_types(project: Project, cursor: duckdb.DuckDBPyConnection, validated: "pl.DataFrame") -> None:
    """Refuse rows whose types are not those of the lake: for `features` too, which the next step would refuse.

    Raises:
        LakeSchemaError: naming both tables where both must be made anew.
    """
    table, features = project.table("validated"), project.table("features")
    found = {table: misfits(cursor, table, validated)}
    if found[table] and table_exists(cursor, features):
        references = read_references(cursor, project, limit=0)
        rows = run_sql(
            cursor, project.features_path, project.features_sql, "validated", validated, references=references
        )
        found[features] = misfits(cursor, features, rows)
    refuse_misfits(found)


def in_question(project: Project, newer: Mapping[datetime, tuple[int, int]]) -> dict[str, Any]:
    """What a materialization says of newer blocks that its change has put in question; nothing where there are none."""
    if not newer:
        return {}
    rows = ", ".join(f"{project.key_of(start)} ({count:,} rows)" for start, (_, count) in newer.items())
    remedy = f"the next look has them judged again; at once: `ml-assets catch-up {project.name}`"
    return {"newer_blocks_in_question": dg.MetadataValue.text(f"{rows}: {remedy}")}


def judge_span(project: Project, cursor: duckdb.DuckDBPyConnection, span: Span) -> Iterator[tuple[Span, Judged]]:
    """Judge the partitions of a run, some at a time; a large one in parts of it, where that comes to the same.

    Yields:
        Some partitions and their rows, judged; of a large one each part.

    Raises:
        AccountingError: see `judge_rows`.
        FileFailure: see `judge_rows`.
    """
    table = project.table("raw")
    pieces = list(in_pieces(project, cursor, table, span))
    large = [piece for piece in pieces if _is_large(project, cursor, piece)]
    raws = read_unchanged(cursor, table, [piece.window for piece in pieces if piece not in large])
    for piece in pieces:
        if piece in large:
            yield from ((piece, judged) for judged in judge_in_parts(project, cursor, piece))
            continue
        raw = next(raws)
        repeated = in_older_blocks(project, cursor, raw, piece.window)
        yield piece, judge_rows(project, raw, _cleaned(project, cursor, raw), repeated)


def judge_in_parts(project: Project, cursor: duckdb.DuckDBPyConnection, piece: Span) -> Iterator[Judged]:
    """Judge a partition part by part: clean.sql and the schema look at each row by itself.

    Which rows and keys are there more than once is gathered from the whole partition first: so that is read twice, but
    never in memory as a whole.
    """
    table = project.table("raw")
    parts = pieces_of(cursor, table, piece.window, PIECE)
    rows = sum(partition_counts(cursor, table, piece).values())
    seen = look_through(project, cursor, parts)
    if len(seen.first) != rows:
        raise AccountingError(
            f"{project.name}, {piece.keys[0]}: {len(seen.first)} of {rows} raw rows are in pieces; nothing was written"
        )
    at = 0
    for raw in read_unchanged(cursor, table, parts):
        yield judge_rows(project, raw, _cleaned(project, cursor, raw), seen=seen.part(at, raw.height))
        at += raw.height


def _is_large(project: Project, cursor: duckdb.DuckDBPyConnection, piece: Span) -> bool:
    """Whether some partitions are a single one of so many rows that it is judged in parts, and can be."""
    if len(piece.keys) > 1 or sum(partition_counts(cursor, project.table("raw"), piece).values()) <= LARGE:
        return False
    return is_row_wise(project.clean_sql, table="raw", where=project.clean_path, kept=LINEAGE) and is_row_by_row(
        load_schema(project.schema)
    )


def look_through(project: Project, cursor: duckdb.DuckDBPyConnection, pieces: Sequence[Piece]) -> Seen:
    """See which rows of a partition repeat another, and of the others which have a key that is not unique."""
    import polars as pl

    rows, older = [], []
    keys: dict[str, list[pl.DataFrame]] = {}
    for one, raw in zip(pieces, read_unchanged(cursor, project.table("raw"), pieces), strict=True):
        rows.append(fingerprints(raw.select(told_apart(project, raw.columns))))
        older.append(in_older_blocks(project, cursor, raw, one))
        cleaned = _one_for_each(project, raw, _cleaned(project, cursor, raw))
        for check, key in unique_keys(cleaned, load_schema(project.schema), project.partitions.timezone).items():
            whole = key.select(pl.all_horizontal(pl.all().is_not_null()).alias("whole")).to_series()
            keys.setdefault(check, []).append(fingerprints(key).with_columns(whole))
    first = is_first(pl.concat(rows))
    repeated = [one for one in older if one is not None]
    if repeated:
        first &= ~pl.concat(repeated)
    found = {}
    for check, parts in keys.items():
        prints = pl.concat(parts)
        found[check] = is_repeated(prints.drop("whole"), among=first & prints["whole"])
    return Seen(first, found)


def _cleaned(project: Project, cursor: duckdb.DuckDBPyConnection, raw: "pl.DataFrame") -> "pl.DataFrame":
    return run_sql(cursor, project.clean_path, project.clean_sql, "raw", raw)


def judge_rows(
    project: Project,
    raw: "pl.DataFrame",
    cleaned: "pl.DataFrame",
    repeated: "pl.Series | None" = None,
    seen: Seen | None = None,
) -> Judged:
    """Drop duplicates and judge the rest.

    Args:
        project: the project.
        raw: raw rows of whole partitions, or a piece of one, ordered by lineage.
        cleaned: what clean.sql made of them, in any order.
        repeated: which raw rows repeat one of another partition, shape (n,); None for none.
        seen: of a piece of a partition, what the whole partition tells of its rows.

    Raises:
        AccountingError: if clean.sql did not return one row for each raw row.
        FileFailure: if the rows cannot be judged.
    """
    import polars as pl

    cleaned = _one_for_each(project, raw, cleaned)
    unknown = sorted(set(project.source.ignore_in_duplicates) - set(raw.columns))
    if unknown:
        raise AccountingError(
            f"source.ignore_in_duplicates: {unknown[0]!r} is no column of raw: {', '.join(raw.columns)}"
        )
    first = _is_first(raw.select(told_apart(project, raw.columns))) if seen is None else seen.first
    if repeated is not None:
        first &= ~repeated
    kept, rows = raw.filter(first), cleaned.filter(first)
    ends = {start: project.step(start, 1) for start in kept["_partition"].unique()}
    rows = rows.with_columns(
        kept[MALFORMED],
        kept["_partition"].replace_strict(ends, return_dtype=pl.Datetime("us")).alias("_partition_end")
        if ends
        else pl.lit(None, dtype=pl.Datetime("us")).alias("_partition_end"),
    )
    verdict = judge(
        rows,
        load_schema(project.schema),
        time=project.partitions.time,
        carried=LINEAGE,
        timezone=project.partitions.timezone,
        repeated=None if seen is None else {check: one.filter(first) for check, one in seen.repeated.items()},
    )
    # By position, not by a join: a source may have columns of any name.
    quarantine = kept[verdict.failed["index"]].with_columns(verdict.failed["reasons"].alias("_reasons"))
    return Judged(verdict.passed, quarantine, raw.filter(~first), verdict, raw)


def account(project: Project, span: Span, judged: Judged) -> dict[str, dict[str, Any]]:
    """What became of each partition's raw rows: partition key → counts.

    Raises:
        AccountingError: if they do not add up.
    """
    frames = {
        "raw": judged.raw,
        "validated": judged.validated,
        "quarantine": judged.quarantine,
        "duplicates": judged.duplicates,
    }
    counted = {name: dict(frame.group_by("_partition").len().iter_rows()) for name, frame in frames.items()}
    strange = set().union(*counted.values()) - set(span.starts)
    if strange:
        raise AccountingError(f"{project.name}: rows are placed at {min(strange)}, where no partition begins")
    accounts = {}
    for start, partition in zip(span.starts, span.keys, strict=True):
        account = {f"{name}_rows": counted[name].get(start, 0) for name in frames}
        if account["raw_rows"] != account["validated_rows"] + account["quarantine_rows"] + account["duplicates_rows"]:
            raise AccountingError(
                f"{project.name}, {partition}: {account}: raw = validated + quarantine + duplicates does not hold"
            )
        accounts[partition] = account
    return accounts


def check_results(
    project: Project, key: dg.AssetKey, tally: Tally, expected: list[str]
) -> Iterator[dg.AssetCheckResult]:
    """One result for each check, also where nothing failed.

    Raises:
        AccountingError: if the schema has other checks than the graph was loaded with.
    """
    found = tally.failures
    if list(found) != expected:
        changed = sorted(set(found) ^ set(expected))
        forget_outline(project.schema)
        raise AccountingError(
            f"{project.schema} has changed since the code location was loaded ({', '.join(changed)}). Remedy: reload it"
        )
    for name, count in found.items():
        metadata: dict[str, Any] = {"rows": count}
        if name in tally.samples:
            metadata["sample"] = dg.MetadataValue.md(_as_table(tally.samples[name]))
        yield dg.AssetCheckResult(
            check_name=name, asset_key=key, passed=count == 0, severity=dg.AssetCheckSeverity.WARN, metadata=metadata
        )
    yield dg.AssetCheckResult(
        check_name=ACCOUNTED, asset_key=key, passed=True, metadata={"raw_rows": tally.rows("raw")}
    )
    rows = tally.rows("raw")
    share = tally.rows("quarantine") / rows if rows else 0.0
    limit = project.validation.quarantine_limit
    yield dg.AssetCheckResult(
        check_name=SHARE,
        asset_key=key,
        passed=share <= limit,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"share": share, "limit": limit},
        description=share_in_words(project, tally),
    )


def _one_for_each(project: Project, raw: "pl.DataFrame", cleaned: "pl.DataFrame") -> "pl.DataFrame":
    """The cleaned rows in the order of the raw rows, after making sure that they are the same rows."""
    where = project.clean_path
    missing = [name for name in LINEAGE if name not in cleaned.columns]
    if missing:
        raise AccountingError(f"{where} does not return {missing[0]!r}. Remedy: select {', '.join(LINEAGE)} in it")
    lineage = list(LINEAGE)
    if cleaned.select(lineage).equals(raw.select(lineage)):
        return cleaned
    cleaned = cleaned.sort(LINEAGE)
    if not cleaned.select(lineage).equals(raw.select(lineage)):
        lost = raw.join(cleaned, on=lineage, how="anti")
        doubled = cleaned.filter(cleaned.select(lineage).is_duplicated())
        example, fate = (lost, "lost") if lost.height else (doubled, "returned more than once")
        which = f", for example row {example['_row'][0]} of {example['_source'][0]}" if example.height else ""
        raise AccountingError(
            f"{where} returned {cleaned.height} rows for {raw.height} raw rows: rows were {fate}{which}. "
            "Remedy: return one row for each raw row; bad rows belong in quarantine, the platform drops duplicates"
        )
    return cleaned


def _is_first(rows: "pl.DataFrame") -> "pl.Series":
    """Whether each row is the first of those that are equal."""
    import polars as pl

    # Equal rows have equal hashes, and few others do: only where a hash repeats are the rows themselves compared.
    at = rows.hash_rows().is_duplicated().arg_true()
    alike = rows[at].select(pl.struct(pl.all()).is_first_distinct()).to_series()
    return pl.repeat(value=True, n=rows.height, eager=True).scatter(at, alike)


def _samples(quarantine: "pl.DataFrame") -> dict[str, list[tuple[str, int, str, str | None]]]:
    """For each check, a few rows that fail it: file, row, column, value."""
    import polars as pl

    if not quarantine.height:
        return {}
    flat = quarantine.select("_source", "_row", "_reasons").explode("_reasons").unnest("_reasons")
    columns = ("_source", "_row", pl.col("column").fill_null(""), "value")
    return {
        str(name): list(group.head(SAMPLE).select(columns).iter_rows())
        for (name,), group in flat.group_by("check", maintain_order=True)
    }


def _as_table(sample: list[tuple[str, int, str, str | None]]) -> str:
    shown = ((source, str(row), column, visible(value, WIDEST)) for source, row, column, value in sample)
    return markdown_table(("file", "row", "column", "value"), shown)


def share_in_words(project: Project, tally: Tally) -> str:
    """The share of rows in quarantine against its limit; above it, also why, with an example of each reason."""
    keys, rows, bad = list(tally.accounts), tally.rows("raw"), tally.rows("quarantine")
    where = f"{project.name} {' … '.join(dict.fromkeys((keys[0], keys[-1])))}"
    share, limit = bad / rows if rows else 0.0, project.validation.quarantine_limit
    words = f"{where}: {bad:,} of {rows:,} rows ({100 * share:.4g} %) in quarantine, the limit is {100 * limit:.4g} %"
    if share <= limit:
        return words
    examples = {name: sample[0][-1] for name, sample in tally.samples.items()}
    return (
        f"{words}: {reasons_in_words(tally.failures, examples)}. Nothing downstream ran. Remedy: see "
        f"`ml-assets quarantine show {project.name}`, mend the source or {project.clean_path}, or raise "
        "validation.quarantine_limit"
    )
