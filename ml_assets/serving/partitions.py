"""The pages of a project's partitions, of one of them, and of one of its rows with all that it was made from."""

# Annotations are values here: FastAPI reads those of a route, and its classes are imported inside the function.
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from ml_assets.registry.models import RegistryError
from ml_assets.serving.pages import newest_before
from ml_assets.serving.partition_queries import (
    Place,
    metrics_of,
    neighbours_of,
    sources_of,
    versions_of,
    worst_of,
)
from ml_assets.serving.queries import Partition, State, read_causes, read_state, read_statistics, reading
from ml_assets.serving.site import Site
from ml_assets.serving.tracing import Trace, column_origins, trace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    import duckdb
    from fastapi import APIRouter
    from starlette.responses import HTMLResponse

    from ml_assets.project import Project


def build_partition_pages(site: Site) -> "APIRouter":
    """The router of the partitions' pages."""
    from fastapi import APIRouter, HTTPException, Query
    from fastapi.responses import HTMLResponse, RedirectResponse

    router = APIRouter(default_response_class=HTMLResponse)

    @router.get("/projects/{project}/partitions")
    def partitions(project: str, before: str = "") -> HTMLResponse:
        state, where = newest_before(site, project, before)
        return _page(site, state, "partitions.html", **where)

    @router.get("/projects/{project}/partitions/{partition}")
    def partition_page(project: str, partition: str) -> HTMLResponse:
        declared = site.project(project)
        start = site.start_of(declared, partition)
        with _held(site, declared, start) as (cursor, state, found):
            before, after = neighbours_of(cursor, declared, start)
            classes = _classes(site, declared, found.version)
            values: dict[str, Any] = {
                "metrics": metrics_of(cursor, declared, start),
                "scored": versions_of(cursor, declared, start),
                "statistics": [one for one in read_statistics(cursor, declared, start) if one.alarm],
                "causes": read_causes(cursor, declared, start),
                "worst": worst_of(cursor, declared, start, classes),
                "positive": classes[-1] if classes else "",
                "sources": sources_of(cursor, declared, start),
            }
        about = [one for one in state.entries if one.partition == found.key and one != found.decision]
        return _page(
            site, state, "partition.html", partition=found, about=about[::-1],
            before=before, after=after,
            **values,
        )  # fmt: skip

    @router.get("/projects/{project}/lineage")
    def lineage(project: str) -> HTMLResponse:
        declared = site.project(project)
        with reading(site.lake) as cursor:
            state = read_state(cursor, site.registry, declared, 1)
            origins, why_not = column_origins(cursor, declared)
        return _page(site, state, "lineage.html", origins=origins, why_not=why_not)

    @router.get("/projects/{project}/predictions")
    def find(project: str, partition: str, source: str = "", row: str = "") -> RedirectResponse:
        declared = site.project(project)
        site.start_of(declared, partition)
        to = router.url_path_for("prediction", project=declared.name, partition=partition)
        return RedirectResponse(f"{to}?{_query(source, row)}", 303)

    @router.get("/projects/{project}/predictions/{partition}")
    def prediction(
        project: str, partition: str, source: str = "", row: Annotated[str, Query(pattern=r"^\d{0,18}$")] = ""
    ) -> HTMLResponse:
        declared = site.project(project)
        start = site.start_of(declared, partition)
        with _held(site, declared, start) as (cursor, state, found):
            traced: Trace | None = None
            if row:
                traced = trace(cursor, site.registry, declared, Place(start, source, int(row)))
                if traced is None:
                    raise HTTPException(404, _no_row(cursor, declared, found, source, row))
            classes = _classes(site, declared, found.version)
            worst, sources = [], []
            if traced is None:
                worst = worst_of(cursor, declared, start, classes)
                sources = sources_of(cursor, declared, start)
        return _page(
            site, state, "prediction.html", partition=found, trace=traced, worst=worst, sources=sources,
            positive=classes[-1] if classes else "",
        )  # fmt: skip

    return router


def _page(site: Site, state: State, template: str, **values: Any) -> "HTMLResponse":
    return site.page(template, warnings=[state.warning], state=state, project=state.project, **values)


def _query(source: str, row: str) -> str:
    from urllib.parse import urlencode  # noqa: PLC0415

    return urlencode({"source": source, "row": row})


@contextmanager
def _held(
    site: Site, project: "Project", start: "datetime"
) -> "Iterator[tuple[duckdb.DuckDBPyConnection, State, Partition]]":
    """A read transaction, a project's state up to a partition, and the partition.

    Raises:
        HTTPException: 404, saying what partitions there are.
    """
    from fastapi import HTTPException

    with reading(site.lake) as cursor:
        state = read_state(cursor, site.registry, project, 1, project.step(start, 1))
        found = next((one for one in state.partitions if one.start == start), None)
        if cursor is None or found is None:
            there = (
                f"There are {state.many}, the newest is {state.last}."
                if state.many
                else f"There is no partition yet. To fill a first history: ml-assets backfill {project.name}"
            )
            raise HTTPException(404, f"{project.name}, {project.key_of(start)}: the lake holds no rows of it. {there}")
        yield cursor, state, found


def _no_row(
    cursor: "duckdb.DuckDBPyConnection", project: "Project", partition: Partition, source: str, row: str
) -> str:
    names = ", ".join(name for name, _ in sources_of(cursor, project, partition.start)[:5])
    return (
        f"{project.name}, {partition.key}: there is no row {row} of {source!r}. Its sources are {names or 'not noted'}."
    )


def _classes(site: Site, project: "Project", number: int | None) -> list[str]:
    if number is None:
        return []
    try:
        return list(site.registry.version(project.name, number).classes)
    except RegistryError:
        return []
