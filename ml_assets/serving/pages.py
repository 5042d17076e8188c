"""The report pages: a route for each, which checks its parameters against what is declared, reads, and renders."""

# Annotations are values here: FastAPI reads those of a route, and its classes are imported inside the function.
import asyncio
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from ml_assets import settings
from ml_assets.project import Project
from ml_assets.serving.chart import draw, series_of
from ml_assets.serving.projects import origin_warning
from ml_assets.serving.queries import read_alerts, read_state, read_statistics, reading
from ml_assets.serving.reports import Subject, read_subject, render
from ml_assets.serving.site import Site

if TYPE_CHECKING:
    from ml_assets.serving.queries import Alert, State

SHOWN = 24
# The chart has its style inside; it links to nothing and runs nothing.
CHART_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"
# Evidently's page is a program with its data inside. In the sandbox it has no origin: whatever it does, it can neither
# read this site nor reach any other.
REPORT_POLICY = (
    "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


def build_pages(site: Site) -> Any:
    """The router of the report pages."""
    from fastapi import APIRouter, HTTPException  # noqa: PLC0415
    from fastapi.concurrency import run_in_threadpool  # noqa: PLC0415
    from fastapi.responses import HTMLResponse, Response  # noqa: PLC0415

    router = APIRouter(default_response_class=HTMLResponse)

    def declared(name: str) -> Project:
        if name not in site.projects:
            raise HTTPException(404, f"There is no project {name!r}. Declared are: {', '.join(site.projects) or 'none'}.")
        return site.projects[name]

    def start_of(project: Project, key: str) -> datetime:
        try:
            start = project.start_of(key)
        except ValueError as error:
            raise HTTPException(404, f"{error}.") from error
        if project.key_of(start) != key:
            raise HTTPException(404, f"{key!r} is no partition of {project.name}: write {project.key_of(start)!r}.")
        return start

    def missing(project: Project, key: str, what: str) -> HTTPException:
        with reading(site.lake) as cursor:
            keys = [one.key for one in read_state(cursor, site.registry, project).partitions]
        there = f"It has {keys[0]} … {keys[-1]}." if keys else "It has no partition yet: run `make demo`."
        return HTTPException(404, f"{project.name} has no {what} for {key}. {there}")

    def state_of(project: Project) -> "State":
        with reading(site.lake) as cursor:
            return read_state(cursor, site.registry, project)

    @router.get("/")
    def home() -> HTMLResponse:
        with reading(site.lake) as cursor:
            states = [read_state(cursor, site.registry, project) for project in site.projects.values()]
        warnings = [origin_warning(state.project, has_rows=bool(state.partitions)) for state in states]
        return site.page("home.html", warnings=warnings, states=states, alerts=_alerts())

    @router.get("/projects/{project}")
    def project_page(project: str) -> HTMLResponse:
        return _about(site, state_of(declared(project)), "project.html", shown=SHOWN, alerts=_alerts(declared(project)))

    @router.get("/projects/{project}/partitions")
    def partitions(project: str) -> HTMLResponse:
        return _about(site, state_of(declared(project)), "partitions.html")

    @router.get("/projects/{project}/performance.svg")
    def performance(project: str) -> Response:
        state = state_of(declared(project))
        warning = origin_warning(state.project, has_rows=bool(state.partitions))
        svg = draw(series_of(state, warning))
        return Response(svg, media_type="image/svg+xml", headers={"Content-Security-Policy": CHART_POLICY})

    @router.get("/projects/{project}/drift")
    def drift(project: str) -> HTMLResponse:
        return _about(site, state_of(declared(project)), "drift.html")

    @router.get("/projects/{project}/drift/{partition}")
    def drift_of_partition(project: str, partition: str) -> HTMLResponse:
        start = start_of(declared(project), partition)
        with reading(site.lake) as cursor:
            state = read_state(cursor, site.registry, declared(project))
            statistics = read_statistics(cursor, declared(project), start)
        if not statistics:
            raise missing(declared(project), partition, "drift report")
        measured = [one for one in state.partitions if one.alarms is not None]
        position = next(index for index, one in enumerate(measured) if one.start == start)
        return _about(
            site, state, "drift_partition.html", partition=measured[position], statistics=statistics,
            version=next((one for one in state.versions if one.record.number == statistics[0].version), None),
            before=measured[position - 1] if position else None, after=next(iter(measured[position + 1 :]), None),
        )  # fmt: skip

    @router.get("/projects/{project}/drift/{partition}/evidently")
    async def evidently(project: str, partition: str) -> HTMLResponse:
        subject = await run_in_threadpool(subject_of, declared(project), partition)
        rendering = site.reports.request(subject, partial(render, lake=site.lake, registry=site.registry))
        # Shielded: one reader who leaves must not take the report from the others who wait for it.
        content = await asyncio.shield(asyncio.wrap_future(rendering))
        return HTMLResponse(content, headers={"Content-Security-Policy": REPORT_POLICY})

    def subject_of(project: Project, key: str) -> Subject:
        start = start_of(project, key)
        warning = origin_warning(project, has_rows=True)
        with reading(site.lake) as cursor:
            subject = cursor and read_subject(cursor, site.registry, project, start, warning)
        if not subject:
            raise missing(project, key, "prediction")
        return subject

    return router


def _about(site: Site, state: "State", template: str, **values: Any) -> Any:
    warning = origin_warning(state.project, has_rows=bool(state.partitions))
    return site.page(template, warnings=[warning], state=state, project=state.project, **values)


def _alerts(project: Project | None = None) -> "tuple[Alert, ...]":
    found = read_alerts(settings.home() / "alerts.jsonl")
    jobs = {f"{project.name}_refresh", f"{project.name}_retrain"} if project else set()
    return tuple(alert for alert in found if project is None or alert.job in jobs)
