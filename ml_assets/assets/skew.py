"""`skew`: whether what was served is what training would have made of the same rows.

The kept requests are replayed through the training path: the statement that the version has learnt by, over the tables
of the lake as they stood then, and the registry's own `predict`. What differs is told, column by column.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb

from ml_assets.assets.common import asset_key, data_origin, registry, run_sql, spec
from ml_assets.assets.references import read_references
from ml_assets.core.partitioning import in_utc, placed
from ml_assets.core.showing import markdown_table
from ml_assets.core.statement import is_row_wise
from ml_assets.core.validation import cast_column
from ml_assets.lake.connection import Lake, LakeError
from ml_assets.lake.resource import LakeResource
from ml_assets.lake.sql import Window
from ml_assets.lake.tables import LINEAGE, PARTITION, read
from ml_assets.project import Project
from ml_assets.registry.certificates import Certificate, write_certificate
from ml_assets.registry.export import TOLERANCE, parity
from ml_assets.registry.models import Version
from ml_assets.registry.requests import Logged, as_text, forget_requests, read_requests

if TYPE_CHECKING:
    import polars as pl

CHECK = "no_skew"
SOURCE = "a request"
# The newest requests that are replayed; fewer where each has to be replayed alone, beside its partition.
MOST, ALONE = 20_000, 300
# Sums over rows in other groups differ in their last bits; so do the 24 of an ONNX estimator.
ROUNDING, ROUNDING_24 = 1e-9, 1e-6
PREDICTED = "prediction"
UNKEPT = "their features tell personal columns or very long texts, and were not kept"


@dataclass
class Column:
    """What became of one feature, or of the prediction, over the rows that were replayed.

    Attributes:
        rows: compared.
        different: of those, rows whose values are not the same.
        greatest: the greatest difference of numbers.
        example: the first that differs: as served, and as replayed.
    """

    rows: int = 0
    different: int = 0
    greatest: float = 0.0
    example: tuple[Any, Any] | None = None

    def add(self, served: Any, replayed: Any, limit: float = 0.0) -> None:
        """Hold one value against another."""
        self.rows += 1
        apart = _apart(served, replayed)
        self.greatest = max(self.greatest, apart)
        if apart > limit:
            self.different += 1
            self.example = self.example or (served, replayed)


@dataclass
class Skew:
    """What a replay found.

    Attributes:
        rows: requests of which something was compared.
        columns: feature, or `prediction` → what became of it.
        left_out: why some were not → how many.
    """

    rows: int = 0
    columns: dict[str, Column] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, why: str, requests: int) -> None:
        """Count requests that are not compared."""
        if requests:
            self.left_out[why] = self.left_out.get(why, 0) + requests

    @property
    def at_fault(self) -> list[str]:
        """The columns that differ, features first: a prediction that differs may hang on one of them."""
        return [name for name, one in self.columns.items() if one.different]

    @property
    def greatest(self) -> float:
        """The greatest difference in any column; infinite for values that are no two numbers."""
        return max((one.greatest for one in self.columns.values()), default=0.0)

    @property
    def words(self) -> str:
        """The verdict in a sentence."""
        out = "; ".join(f"{count} left out: {why}" for why, count in self.left_out.items())
        end = f" ({out})" if out else ""
        if not self.rows:
            return f"no request was compared{end}"
        if not self.at_fault:
            predicted = self.columns[PREDICTED].rows if PREDICTED in self.columns else 0
            told = (
                ", and no prediction" if predicted == self.rows
                else f", and none of the {predicted:,} predictions compared" if predicted
                else "; no prediction was compared, for not all features were kept"
            )  # fmt: skip
            return f"{self.rows:,} requests compared: no feature differs{told}{end}"
        name = self.at_fault[0]
        one = self.columns[name]
        served, replayed = one.example or (None, None)
        return (
            f"{name} differs in {one.different:,} of {one.rows:,} requests, by {one.greatest:.4g} at most: "
            f"{served!r} was served and training would have had {replayed!r}{end}"
        )


def build_skew(project: Project) -> dg.AssetsDefinition:
    """The asset `skew`, and its check."""
    key = asset_key(project, "skew")

    @dg.multi_asset(
        name=f"{project.name}__skew",
        specs=[
            spec(
                project, "skew", "Whether the features and predictions that were served are those of the training "
                "path: the kept requests, replayed.",
                deps=["validated", "model"], kinds=["duckdb", "scikitlearn"], partitioned=False,
            )
        ],
        check_specs=[dg.AssetCheckSpec(CHECK, asset=key, description="No served value differs from the replayed one.")],
    )  # fmt: skip
    def skew(context: dg.AssetExecutionContext, lake: LakeResource) -> Any:
        found = replay_requests(project, lake.lake)
        context.log.info("%s", found.words)
        now = datetime.now(UTC)
        since = now.replace(tzinfo=None) - timedelta(days=project.serving.keep_days)
        forgotten = forget_requests(lake.lake, project.table("requests"), since)
        counted = found.columns.items()
        table = markdown_table(
            ("column", "rows", "different", "greatest difference"),
            ((name, f"{one.rows:,}", f"{one.different:,}", f"{one.greatest:.4g}") for name, one in counted),
        )
        greatest = found.greatest if math.isfinite(found.greatest) else None
        certificate = Certificate(now.isoformat(), found.rows, greatest, tuple(found.at_fault), found.words)
        write_certificate(project.name, certificate)
        yield dg.MaterializeResult(
            asset_key=key,
            metadata={
                "rows_compared": found.rows, "greatest_difference": found.greatest, "verdict": found.words,
                "at_fault": ", ".join(found.at_fault) or "none", "forgotten": forgotten,
                **({"columns": dg.MetadataValue.md(table)} if table else {}),
                **data_origin(project, lake.lake),
            },
        )  # fmt: skip
        # Where nothing was compared, nothing is certified; that is no fault.
        yield dg.AssetCheckResult(
            check_name=CHECK, asset_key=key, passed=bool(found.rows) and not found.at_fault,
            severity=dg.AssetCheckSeverity.ERROR if found.at_fault else dg.AssetCheckSeverity.WARN,
            metadata={"verdict": found.words},
        )  # fmt: skip

    return skew


def replay_requests(project: Project, lake: Lake) -> Skew:
    """Replay the kept requests of a project through the training path."""
    found = Skew()
    with lake.reader() as cursor:
        kept = read_requests(cursor, project.table("requests"), MOST)
        groups: dict[tuple[int, int], list[Logged]] = {}
        told = [one for one in kept if one.features]
        found.leave_out(UNKEPT, len(kept) - len(told))
        for one in told:
            groups.setdefault((one.version, one.snapshot), []).append(one)
        for (number, snapshot), requests in sorted(groups.items()):
            version = registry().version(project.name, number)
            by = replace(project, features_sql=version.sources.get("features_sql") or project.features_sql)
            try:
                replayed, asked = _features(cursor, by, requests, snapshot)
            except (LakeError, duckdb.Error) as error:
                why = f"the lake's snapshot {snapshot} is gone" if "snapshot" in str(error).lower() else str(error)
                found.leave_out(why, len(requests))
                continue
            why = f"of those that hang on other rows only {ALONE:,} are replayed"
            found.leave_out(why, len(requests) - len(asked))
            _compare(found, version, asked, replayed)
    return found


def _features(
    cursor: duckdb.DuckDBPyConnection, project: Project, requests: Sequence[Logged], snapshot: int
) -> "tuple[pl.DataFrame, Sequence[Logged]]":
    """The features of requests, by the training path over the tables as they stood; and the requests replayed."""
    import polars as pl

    table = project.table("validated")
    empty = cursor.execute(f"FROM {table.at(snapshot)} LIMIT 0").pl()
    references = read_references(cursor, project, snapshot=snapshot)
    row_wise = is_row_wise(project.features_sql, table="validated", where=project.features_path, kept=LINEAGE)
    asked = requests if row_wise else requests[:ALONE]
    rows = _as_validated(project, empty, asked, cursor.execute(f"SELECT max({PARTITION}) FROM {table.at(snapshot)}"))

    def run(part: "pl.DataFrame") -> "pl.DataFrame":
        made = run_sql(cursor, project.features_path, project.features_sql, "validated", part, references=references)
        return made.filter(made["_source"] == SOURCE)

    if row_wise:
        return run(rows), asked
    parts = []
    for row in rows.iter_slices(1):
        start = row[PARTITION][0]
        others = read(cursor, table, Window(start, project.step(start, 1)), snapshot)
        parts.append(run(pl.concat([others, row], how="vertical_relaxed")))
    return pl.concat(parts), asked


def _as_validated(
    project: Project, empty: "pl.DataFrame", requests: Sequence[Logged], newest: duckdb.DuckDBPyConnection
) -> "pl.DataFrame":
    """Requests as rows of `validated`: what was not given is null; each in its partition, the newest without a time."""
    import polars as pl

    columns = {
        name: pl.Series(name, [one.input.get(name) for one in requests], strict=False)
        for name in empty.columns
        if name not in LINEAGE
    }
    zone = project.partitions.timezone
    rows = pl.DataFrame(
        {name: _typed(values, empty.schema[name], zone) for name, values in columns.items()}
    ).with_row_index("_row")
    time, partition = (
        project.partitions.time,
        pl.Series([newest.fetchall()[0][0]] * rows.height, dtype=pl.Datetime("us")),
    )
    if time:
        there = placed(in_utc(rows[time], project.calendar.timezone), project.calendar)
        partition = there.zip_with(rows[time].is_not_null(), partition)
    rows = rows.with_columns(partition.alias(PARTITION), pl.lit(SOURCE).alias("_source"))
    return rows.select(pl.col(name).cast(kind) for name, kind in empty.schema.items())


def _typed(values: "pl.Series", kind: Any, timezone: str) -> "pl.Series":
    """Values of JSON in a column's type, times read as training reads them; a hashed one, which is of none, is null."""
    import polars as pl

    if values.dtype == pl.String and kind.is_temporal():
        return cast_column(values, kind, timezone)
    return values.cast(kind, strict=False)


def _compare(found: Skew, version: Version, requests: Sequence[Logged], replayed: "pl.DataFrame") -> None:
    import numpy as np  # noqa: PLC0415

    features = replayed.select("_row", *version.features).rows_by_key("_row", named=True, unique=True)
    found.leave_out("the statement drops them now", len(requests) - len(features))
    if not features:
        return
    said = registry().predict(version, replayed)
    predicted = dict(zip(replayed["_row"], said.tolist(), strict=True))
    agreed = _agreed(version, float(np.std(said)))
    for place, one in enumerate(requests):
        if place not in features:
            continue
        found.rows += 1
        for name in version.features:
            if name in one.features:
                found.columns.setdefault(name, Column()).add(one.features[name], _plain(features[place][name]))
        if one.features.keys() >= version.features.keys():
            greatest = float(np.abs(predicted[place]).max())
            # An engine of ONNX serves because its parity was within this.
            limit = agreed + ROUNDING_24 * greatest if one.engine == "onnx" else ROUNDING * greatest
            found.columns.setdefault(PREDICTED, Column()).add(one.predicted, predicted[place], limit)


def _agreed(version: Version, spread: float) -> float:
    """How far a version's ONNX file may be from it: as at its parity; by the spread of predictions if no note says."""
    told = parity(registry(), version) or {}
    return float(told.get("limit", TOLERANCE * (spread if version.task == "regression" else 1)))


def _plain(value: Any) -> Any:
    """A value as the log has it."""
    return value if isinstance(value, int | float | str | None) else json.loads(as_text(value))


def _apart(served: Any, replayed: Any) -> float:
    """How far two values are apart; of probabilities the greatest; infinitely where they are no two numbers."""
    if isinstance(served, list) and isinstance(replayed, list) and len(served) == len(replayed):
        return max(map(_apart, served, replayed), default=0.0)
    if isinstance(served, int | float) and isinstance(replayed, int | float):
        both_missing = math.isnan(served) and math.isnan(replayed)
        apart = 0.0 if both_missing or served == replayed else abs(float(served) - float(replayed))
        # Of a number and none, too.
        return math.inf if math.isnan(apart) else apart
    return 0.0 if served == replayed else math.inf
