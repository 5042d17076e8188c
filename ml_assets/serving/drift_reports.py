"""The pages of drift between any two windows, and Evidently's reports, asked for or made before anybody asks.

A report costs seconds of processor time and hundreds of megabytes, so no run waits for one: this process makes them,
one after another. For alarms it does so by itself: it has the rows, the model and the cache at hand, a job of Dagster's
would start a process and import everything for each; and where no pages are served, nobody could open a report.
"""

# Annotations are values here: FastAPI reads those of a route, and its classes are imported inside the function.
import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from ml_assets.lake.connection import table_exists
from ml_assets.lake.origin import origin_warning
from ml_assets.registry.models import RegistryError
from ml_assets.serving.queries import read_state, reading
from ml_assets.serving.reports import Subject, read_subject, render
from ml_assets.serving.site import Site
from ml_assets.serving.windows import Asked, compare, parse, read_rows

if TYPE_CHECKING:
    import duckdb
    from fastapi import APIRouter
    from starlette.responses import HTMLResponse

    from ml_assets.project import Project

# Evidently's page is a program with its data inside. In the sandbox it has no origin: whatever it does, it can neither
# read this site nor reach any other.
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
# Partitions, the newest, whose alarms have their report made before it is asked for; and how often is looked.
ALARMS = 24
PAUSE_SECONDS = 30.0
LOG = logging.getLogger(__name__)


def build_drift_reports(site: Site) -> "APIRouter":
    """The router of the reports. It comes before the pages of partitions, whose address would swallow its own."""
    from fastapi import APIRouter, Query
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import HTMLResponse

    router = APIRouter(default_response_class=HTMLResponse)
    First = Annotated[str, Query(alias="from")]  # noqa: N806 - a type
    Last = Annotated[str, Query(alias="to")]  # noqa: N806

    @router.get("/projects/{project}/drift/report")
    def window(project: str, first: First, against: str, last: Last = "") -> HTMLResponse:
        asked = _asked(site, project, first, last, against)
        with reading(site.lake) as cursor:
            state = read_state(cursor, site.registry, asked.project)
            found = compare(cursor, asked) if cursor else []
        query = urlencode({"from": asked.first, "to": asked.last, "against": asked.reference})
        return site.page(
            "drift_window.html", warnings=[state.warning], state=state, project=asked.project, asked=asked,
            statistics=found, report=f"/projects/{project}/drift/report/evidently?{query}",
        )  # fmt: skip

    @router.get("/projects/{project}/drift/report/evidently")
    async def evidently_of_window(project: str, first: First, against: str, last: Last = "") -> HTMLResponse:
        asked = await run_in_threadpool(_asked, site, project, first, last, against)
        subject = await run_in_threadpool(_read, site, asked)
        return await report_page(site, subject)

    return router


async def report_page(site: Site, subject: Subject) -> "HTMLResponse":
    """Evidently's report as a page: the one that is kept, or a new one."""
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import HTMLResponse

    content = await run_in_threadpool(site.reports.find, subject)
    if content is None:
        making = site.reports.make(subject, partial(render, lake=site.lake, registry=site.registry))
        content = await asyncio.wrap_future(making)
    return HTMLResponse(content, headers={"Content-Security-Policy": REPORT_POLICY})


async def keep_ready(site: Site) -> None:
    """Make the reports of new alarms, as long as the application runs."""
    from fastapi.concurrency import run_in_threadpool

    given_up: set[tuple[str, str]] = set()
    while True:
        await run_in_threadpool(make_ready, site, given_up)
        await asyncio.sleep(PAUSE_SECONDS)


def make_ready(site: Site, given_up: set[tuple[str, str]]) -> list[str]:
    """Make the reports of the newest partitions that alarm, where they are not kept yet.

    Args:
        site: the site.
        given_up: project and key of the reports that could not be made: they are not tried again. Added to.

    Returns:
        Project and partition of each that was made.
    """
    made = []
    for project in site.projects.values():
        for subject in _alarming(site, project):
            name = (project.name, subject.key)
            if name in given_up or site.reports.find(subject) is not None:
                continue
            try:
                site.reports.make(subject, partial(render, lake=site.lake, registry=site.registry)).result()
            except Exception:
                # Whoever opens the page is told again; the other reports are made.
                LOG.exception("the report on %s, %s could not be made", project.name, subject.partition)
                given_up.add(name)
            else:
                made.append(f"{project.name} {subject.partition}")
    return made


def _alarming(site: Site, project: "Project") -> list[Subject]:
    with reading(site.lake) as cursor:
        if cursor is None or not table_exists(cursor, project.table("drift")):
            return []
        sql = (
            f"SELECT _partition FROM {project.table('drift').path} GROUP BY _partition "
            f"QUALIFY bool_or(alarm) AND row_number() OVER (ORDER BY _partition DESC) <= {ALARMS} "
            "ORDER BY _partition DESC"
        )
        warning = origin_warning(cursor, project.name)
        found = [read_subject(cursor, site.registry, project, start, warning) for (start,) in _all(cursor, sql)]
    return [one for one in found if one is not None]


def _all(cursor: "duckdb.DuckDBPyConnection", sql: str) -> list[tuple[Any, ...]]:
    return cursor.execute(sql).fetchall()


def _asked(site: Site, name: str, first: str, last: str, against: str) -> Asked:
    from fastapi import HTTPException

    project = site.project(name)
    try:
        return parse(project, site.registry, first, last, against)
    except (ValueError, RegistryError) as error:
        raise HTTPException(404, f"{error}.") from error


def _read(site: Site, asked: Asked) -> Subject:
    from fastapi import HTTPException

    with reading(site.lake) as cursor:
        warning = origin_warning(cursor, asked.project.name) if cursor else None
        subject = read_rows(cursor, asked, warning) if cursor else None
    if subject is None:
        where = f"{asked.label} or {asked.reference}"
        raise HTTPException(404, f"{asked.project.name}: the lake holds no features of {where}.")
    return subject
