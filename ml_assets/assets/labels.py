"""Looking at the labels of a project: which are there, and how long they usually take."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import duckdb

from ml_assets.core.maturity import Look, Maturity, Standing, latest_shares, learn_maturity
from ml_assets.core.performance import label_sql
from ml_assets.lake.connection import Transaction, create_schema, table_exists
from ml_assets.lake.sql import Window, quoted
from ml_assets.lake.tables import window_of
from ml_assets.project import Project

# Start of a partition → its rows, and those of them that have a label.
Counted = Mapping[datetime, tuple[int, int]]


@dataclass(frozen=True)
class Labels:
    """How the labels of a project stand.

    Attributes:
        project: the project.
        maturity: how they come.
        newest: position of the newest partition.
        shares: position of a partition that was looked at → share of its rows with a label.
    """

    project: Project
    maturity: Maturity
    newest: int
    shares: Mapping[int, float] = field(default_factory=dict)

    def share(self, start: datetime) -> float:
        """The share of a partition's rows that has a label; 0 where nobody has looked."""
        return self.shares.get(self.project.calendar.position(start), 0.0)

    def standing(self, start: datetime, rows: int) -> Standing:
        """How the metrics of a partition stand, of which so many rows that count have a label."""
        if not rows:
            return "estimated"
        age = self.newest - self.project.calendar.position(start)
        enough = rows >= self.project.retraining.minimum_rows
        return self.maturity.standing(self.share(start), age, measurable=enough)


def look_at_labels(transaction: Transaction, project: Project, window: Window) -> Labels:
    """Look at the labels of a window, note what is new, and learn from all looks.

    A look is a row of `label_looks` that nobody ever changes: partition, time of the look, the newest partition then,
    rows, labelled. One that sees what the last one saw is not noted.
    """
    import polars as pl

    cursor, table = transaction.cursor, project.table("label_looks")
    create_schema(cursor, project.name)
    cursor.execute(
        f"CREATE TABLE IF NOT EXISTS {table.path} (_partition TIMESTAMP, looked_at TIMESTAMP, newest TIMESTAMP, "
        "rows BIGINT, labelled BIGINT)"
    )
    last = f"SELECT _partition, arg_max((rows, labelled), looked_at) FROM {table.path} GROUP BY ALL"
    known = dict(cursor.execute(last).fetchall())
    seen = count_labels(cursor, project, window)
    newest, now = _newest(cursor, project), datetime.now(UTC).replace(tzinfo=None)
    new = [(start, now, newest, *saw) for start, saw in seen.items() if known.get(start) != saw]
    if new:
        columns = {"_partition": pl.Datetime("us"), "looked_at": pl.Datetime("us"), "newest": pl.Datetime("us")}
        frame = pl.DataFrame(new, schema={**columns, "rows": pl.Int64, "labelled": pl.Int64}, orient="row")
        cursor.register("incoming_looks", frame)
        cursor.execute(f"INSERT INTO {table.path} BY NAME FROM incoming_looks")
        cursor.unregister("incoming_looks")
    return learn_labels(cursor, project, {})


def count_labels(cursor: duckdb.DuckDBPyConnection, project: Project, window: Window | None = None) -> Counted:
    """The rows of `features` by partition, and those of them that have a label."""
    label = label_sql(quoted(project.target), project.task)
    features = window_of(project.table("features"), window)
    sql = f"SELECT _partition, count(*), count({label}) FROM ({features}) GROUP BY ALL ORDER BY ALL"
    return {start: (rows, labelled) for start, rows, labelled in cursor.execute(sql).fetchall()}


def learn_labels(cursor: duckdb.DuckDBPyConnection, project: Project, seen: Counted) -> Labels:
    """How labels stand, by all looks that were noted and what is seen now."""
    position, table, declared = project.calendar.position, project.table("label_looks"), project.monitoring.labels
    looks = []
    if table_exists(cursor, table):
        noted = cursor.execute(f"SELECT _partition, newest, rows, labelled FROM {table.path} ORDER BY looked_at")
        looks += [Look(position(at), position(then) - position(at), *saw) for at, then, *saw in noted.fetchall()]
    newest = position(found) if (found := _newest(cursor, project)) else 0
    looks += [Look(position(at), newest - position(at), *saw) for at, saw in seen.items()]
    maturity = learn_maturity(looks, newest, share=declared.share, delay=declared.delay)
    return Labels(project, maturity, newest, latest_shares(looks))


def to_learn_from(
    cursor: duckdb.DuckDBPyConnection, project: Project, through: datetime | None = None
) -> tuple[list[datetime], list[datetime]]:
    """The partitions that a model may learn from or be judged on, and those whose labels are still to come.

    Those that have matured: the labels that come first need not be like the others. While it is not known how labels
    come, all that have any.

    Args:
        cursor: any cursor.
        project: the project.
        through: start of the newest partition to look at; None for all.
    """
    seen = count_labels(cursor, project)
    labels = learn_labels(cursor, project, seen)
    ready: list[datetime] = []
    waiting: list[datetime] = []
    for start, (_, labelled) in seen.items():
        if through is None or start <= through:
            unknown = labels.maturity.delay is None and labelled > 0
            (ready if unknown or labels.standing(start, labelled) == "matured" else waiting).append(start)
    return ready, waiting


def _newest(cursor: duckdb.DuckDBPyConnection, project: Project) -> datetime | None:
    found: datetime | None
    ((found,),) = cursor.execute(f"SELECT max(_partition) FROM {project.table('features').path}").fetchall()
    return found
