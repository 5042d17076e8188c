"""The report pages: a route for each, which checks its parameters against what is declared, reads, and renders."""

# Annotations are values here: FastAPI reads those of a route, and its classes are imported inside the function.
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ml_assets.lake.origin import origin_warning
from ml_assets.quarantine import read_quarantine
from ml_assets.registry.alerts import read_alerts
from ml_assets.registry.certificates import read_certificate
from ml_assets.registry.models import RegistryError
from ml_assets.registry.outbox import outbox
from ml_assets.serving.chart import draw, limit_title, series_of
from ml_assets.serving.drift_reports import report_page
from ml_assets.serving.glance import glance_of, spark_of
from ml_assets.serving.partition_queries import neighbours_of
from ml_assets.serving.queries import read_causes, read_state, read_statistics, reading
from ml_assets.serving.reports import Subject, read_subject
from ml_assets.serving.site import Site
from ml_assets.serving.stories import events

if TYPE_CHECKING:
    from fastapi import APIRouter, HTTPException
    from starlette.responses import HTMLResponse

    from ml_assets.project import Project
    from ml_assets.registry.alerts import Alert
    from ml_assets.serving.queries import State

# Partitions, and events, that a page shows at first.
SHOWN = 24
EVENTS = 12
# And on one page of many.
PAGE = 100
# The chart has its style inside; it links to nothing and runs nothing.
CHART_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"


def build_pages(site: Site) -> "APIRouter":
    """The router of the report pages."""
    from fastapi import APIRouter
    from fastapi.concurrency import run_in_threadpool
    from fastapi.responses import HTMLResponse, Response

    router = APIRouter(default_response_class=HTMLResponse)

    @router.get("/")
    def home() -> HTMLResponse:
        with reading(site.lake) as cursor:
            states = [read_state(cursor, site.registry, project, SHOWN) for project in site.shown()]
        now = datetime.now(UTC).replace(tzinfo=None)
        undelivered = [
            one
            for state in ("doubt", "failed")
            for one in outbox().deliveries(state, limit=SHOWN)
            if site.is_shown(one.message.project)
        ]
        alerts = [one for one in _alerts() if any(map(site.is_shown, one.projects))]
        return site.page(
            "home.html", warnings=[state.warning for state in states], alerts=alerts, deliveries=undelivered,
            glances=[
                (state, glance_of(state, now, read_certificate(state.project.name)), spark_of(state))
                for state in states
            ],
        )  # fmt: skip

    @router.get("/projects/{project}")
    def project_page(project: str) -> HTMLResponse:
        declared = site.project(project)
        state, now = _state(site, declared, SHOWN), datetime.now(UTC).replace(tzinfo=None)
        found = read_certificate(declared.name)
        return _about(
            site, state, "project.html", shown=SHOWN, alerts=_alerts(declared), glance=glance_of(state, now, found),
            certificate=found,
            happened=events(state.entries, EVENTS), limit=limit_title(declared.retraining),
        )  # fmt: skip

    @router.get("/projects/{project}/quarantine")
    def quarantine(project: str) -> HTMLResponse:
        declared = site.project(project)
        with reading(site.lake) as cursor:
            state = read_state(cursor, site.registry, declared)
            found = read_quarantine(cursor, declared)
        return _about(site, state, "quarantine.html", found=found)

    @router.get("/projects/{project}/performance.svg")
    def performance(project: str, size: str = "") -> Response:
        state = _state(site, site.project(project))
        svg = draw(series_of(state, state.warning), narrow=size == "phone")
        return Response(svg, media_type="image/svg+xml", headers={"Content-Security-Policy": CHART_POLICY})

    @router.get("/projects/{project}/drift")
    def drift(project: str, before: str = "") -> HTMLResponse:
        state, where = newest_before(site, project, before)
        return _about(site, state, "drift.html", **where)

    @router.get("/projects/{project}/drift/{partition}")
    def drift_of_partition(project: str, partition: str) -> HTMLResponse:
        declared = site.project(project)
        start = site.start_of(declared, partition)
        with reading(site.lake) as cursor:
            state = read_state(cursor, site.registry, declared, 1, declared.step(start, 1))
            statistics = read_statistics(cursor, declared, start)
            causes = read_causes(cursor, declared, start)
            found = next((one for one in state.partitions if one.start == start and one.alarms is not None), None)
            if cursor is None or found is None:
                everything = read_state(cursor, site.registry, declared)
                raise _missing(everything, partition, "has not been measured for drift")
            before, after = neighbours_of(cursor, declared, start, "drift")
        return _about(
            site, state, "drift_partition.html", partition=found, statistics=statistics, causes=causes,
            version=next((one for one in state.versions if one.number == statistics[0].version), None),
            before=before, after=after,
        )  # fmt: skip

    @router.get("/projects/{project}/drift/{partition}/evidently")
    async def evidently(project: str, partition: str) -> HTMLResponse:
        subject = await run_in_threadpool(_subject, site, site.project(project), partition)
        return await report_page(site, subject)

    return router


def _state(site: Site, project: "Project", newest: int | None = None) -> "State":
    with reading(site.lake) as cursor:
        return read_state(cursor, site.registry, project, newest)


def _subject(site: Site, project: "Project", key: str) -> Subject:
    from fastapi import HTTPException

    start = site.start_of(project, key)
    with reading(site.lake) as cursor:
        try:
            subject = cursor and read_subject(
                cursor, site.registry, project, start, origin_warning(cursor, project.name)
            )
        except RegistryError as error:
            raise HTTPException(404, f"{error}.") from error
        if not subject:
            raise _missing(read_state(cursor, site.registry, project), key, "has not been scored by a version")
        return subject


def _missing(state: "State", key: str, what: str) -> "HTTPException":
    from fastapi import HTTPException

    keys = [one.key for one in state.partitions]
    none = f"There is no partition yet. To fill a first history: ml-assets backfill {state.project.name}."
    there = f"There are {keys[0]} … {keys[-1]}." if keys else none
    return HTTPException(404, f"{state.project.name}, {key}: {what}. {there}")


def _about(site: Site, state: "State", template: str, **values: Any) -> "HTMLResponse":
    return site.page(template, warnings=[state.warning], state=state, project=state.project, **values)


def _alerts(project: "Project | None" = None) -> "tuple[Alert, ...]":
    return read_alerts(project.name if project else None)


def newest_before(site: Site, project: str, before: str) -> "tuple[State, dict[str, Any]]":
    """A page of a project's partitions.

    Args:
        site: the application's parts.
        project: its name.
        before: the key of the partition that the page ends before; the newest partitions where "".

    Returns:
        The state with them, and for the template: `before`, and `older`, the partition that the next page ends before.

    Raises:
        HTTPException: 404, if there is no such project or key.
    """
    declared = site.project(project)
    end = site.start_of(declared, before) if before else None
    with reading(site.lake) as cursor:
        state = read_state(cursor, site.registry, declared, PAGE, end)
    return state, {"before": before, "older": state.partitions[0] if len(state.partitions) == PAGE else None}
