"""Reading the rows of a training set again, and making sure that they are the same rows."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING, Any

from ml_assets.core.splitting import Shares, deal
from ml_assets.core.tasks import has_label
from ml_assets.lake.tables import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from ml_assets.lake.connection import Lake
    from ml_assets.project import Project
    from ml_assets.registry.models import TrainingSet, Version


class TrainingDataError(Exception):
    """The rows of a training set are not those that were recorded."""


def read_partitions(lake: Lake, project: Project, keys: Sequence[str], snapshot: int | None = None) -> pl.DataFrame:
    """Rows of `features` in some partitions, now or as a snapshot of the lake saw them, in the order of lineage."""
    with lake.reader() as cursor:
        rows = read(cursor, project.table("features"), project.window(min(keys), max(keys)), snapshot)
    return of_partitions(project, rows, keys)


def of_partitions(project: Project, rows: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """The rows that stand in some partitions."""
    return rows.filter(rows["_partition"].is_in([project.start_of(key) for key in keys]))


def training_rows(lake: Lake, project: Project, training_set: TrainingSet) -> pl.DataFrame:
    """The rows of a training set.

    Raises:
        TrainingDataError: if they are not the rows that were recorded.
    """
    keys = (*training_set.train, *training_set.test, *training_set.holdout)
    rows = read_partitions(lake, project, keys, training_set.snapshot)
    found = content_hash(rows)
    if found != training_set.content_hash:
        raise TrainingDataError(
            f"{project.name}: snapshot {training_set.snapshot} of the lake holds other rows than were recorded "
            f"({found[:12]}… instead of {training_set.content_hash[:12]}…). "
            f"Remedy: materialize {project.name}/training_set again"
        )
    return rows


def rows_to_learn(project: Project, rows: pl.DataFrame, training_set: TrainingSet) -> pl.DataFrame:
    """Of a training set's rows, those that a model learns from: train, and validation once the search is over."""
    return rows.filter(sides(project, rows, training_set).is_in(["train", "validation"]))


def rows_held_out(project: Project, rows: pl.DataFrame, training_set: TrainingSet) -> pl.DataFrame:
    """Of a training set's rows, those that judge the model."""
    return rows.filter(sides(project, rows, training_set) == "test")


def rows_held_back(project: Project, rows: pl.DataFrame, training_set: TrainingSet) -> pl.DataFrame:
    """Of a training set's rows, the holdout: none but the `model` asset may read it, once a version."""
    return rows.filter(sides(project, rows, training_set) == "holdout")


def sides(project: Project, rows: pl.DataFrame, training_set: TrainingSet) -> pl.Series:
    """The side of each row: `train`, `validation`, `test` or `holdout`; null where its partition is on none.

    A row without a label is on none either: there is nothing to learn from it, and nothing to judge by.

    Args:
        project: the project.
        rows: all rows of the training set's partitions, or of some of them. By strata a lot hangs on the others of the
            stratum too, and all rows of `train` must be there.
        training_set: how they were parted.
    """
    import polars as pl

    by_time = {"train": training_set.train, "validation": training_set.validation, "holdout": training_set.holdout}
    if not training_set.test_share:
        by_time["test"] = training_set.test
    side_of = {project.start_of(key): side for side, keys in by_time.items() for key in keys}
    sides = rows["_partition"].replace_strict(side_of, default=None, return_dtype=pl.String)
    sides = rows.select(pl.when(has_label(rows[project.target], project.task)).then(sides)).to_series()
    if not training_set.test_share:
        return sides
    dealt = sides == "train"
    drawing = rows.filter(dealt)
    column = drawing[training_set.by].to_list() if training_set.by else None
    drawn = deal(
        drawing.select("_source", "_row").iter_rows(),
        Shares(training_set.test_share, training_set.validation_share, training_set.holdout_share),
        training_set.seed,
        strata=column if training_set.lots == "stratified" else None,
        groups=column if training_set.lots == "grouped" else None,
    )
    return sides.scatter(dealt.arg_true(), drawn) if drawn else sides


def learnt_from(lake: Lake, project: Project, version: Version, rows: pl.DataFrame) -> pl.Series:
    """Which rows the version has learnt from, whatever has become of them since.

    A row is known by its values, because one that comes late moves the others to other lines of the file; one whose
    values were corrected, so that they stand nowhere now, is known by its place. So a late row may judge the model, a
    moved or corrected one may not. Rows of partitions that it has not learnt from are new, also where a correction of
    their time has brought them there.

    Args:
        lake: holds what the version has learnt from, and what has become of it.
        project: the project.
        version: the version.
        rows: of `features`, of any partitions: what is said of a row does not depend on the others.
    """
    import polars as pl

    training_set = version.training_set
    trained = rows["_partition"].is_in([project.start_of(key) for key in training_set.train])
    if not trained.any():
        return trained
    learnt = read_partitions(lake, project, training_set.train, training_set.snapshot)
    learnt = rows_to_learn(project, learnt, training_set)
    place, values = ["_source", "_row"], ["_partition", *version.features, project.target]
    # Rows of equal values are told apart by counting them.
    copy = pl.int_range(pl.len()).over(values).alias("_copy")
    new, old = rows.with_columns(copy), learnt.cast({name: rows.schema[name] for name in values}).with_columns(copy)
    given = set(rows["_partition"].unique())
    others = [key for key in training_set.train if project.start_of(key) not in given]
    now = new.select(*values, "_copy")
    if others:
        elsewhere = (
            read_partitions(lake, project, others).select(values).cast({name: now.schema[name] for name in values})
        )
        now = pl.concat([now, elsewhere.with_columns(copy)])
    corrected = old.join(now, on=[*values, "_copy"], how="anti", nulls_equal=True)
    known = pl.lit(value=True).alias("_known")
    same = new.join(
        old.select(*values, "_copy", known), on=[*values, "_copy"], how="left", nulls_equal=True, maintain_order="left"
    )
    replaced = new.join(corrected.select(*place, known), on=place, how="left", maintain_order="left")
    return trained & (same["_known"].fill_null(value=False) | replaced["_known"].fill_null(value=False))


def content_hash(rows: pl.DataFrame) -> str:
    """SHA-256 over the names, types and values of a frame, in order."""
    import polars as pl

    # What lies in memory below a null is anything: there a zero is written, and the nulls are told beside it.
    nulls = [name for name, kind in rows.schema.items() if rows[name].null_count() and kind != pl.Null]
    zeros: dict[Any, Any] = {pl.String: "", pl.Boolean: False, pl.Binary: b""}
    rows = rows.with_columns(
        *(pl.col(name).is_null().alias(f"{name} is null") for name in nulls),
        *(pl.col(name).to_physical().fill_null(zeros.get(rows.schema[name], 0)) for name in nulls),
    )
    content = io.BytesIO()
    # The oldest layout keeps text in one run of bytes: the same rows are the same bytes however they were chunked.
    rows.rechunk().write_ipc(content, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    return hashlib.sha256(content.getbuffer()).hexdigest()
