"""The web application: routers put together behind what protects all of them.

The door lets through what whoever asks may do, and only under our own names; pages run no script and load nothing from
elsewhere; and an error says nothing of the inside.
"""

# Annotations are values here: FastAPI's classes are imported inside the function.
import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from ml_assets.project import Project
from ml_assets.projects import load_projects
from ml_assets.serving.access.acting import build_acts
from ml_assets.serving.access.door import Door
from ml_assets.serving.access.noting import Notes
from ml_assets.serving.access.settings import demands_keys, limits
from ml_assets.serving.access.shield import HEADERS, own_names
from ml_assets.serving.access.signing_in import build_signing_in
from ml_assets.serving.access.store import home_store
from ml_assets.serving.cards import build_card_pages
from ml_assets.serving.drift_reports import build_drift_reports, keep_ready
from ml_assets.serving.exploration import build_exploration_pages
from ml_assets.serving.ledgers import build_ledger_pages
from ml_assets.serving.pages import build_pages
from ml_assets.serving.partitions import build_partition_pages
from ml_assets.serving.predicting.api import Desk, build_predicting
from ml_assets.serving.replays import build_replay_pages
from ml_assets.serving.site import FOLDER, build_site
from ml_assets.serving.trying import build_trying
from ml_assets.serving.versions import build_version_pages

MESSAGES = {
    404: ("Not found", "There is no such page."),
    405: ("Not allowed", "This address does not do that."),
    500: (
        "Something went wrong",
        "What it was stands in the server's log: of `ml-assets up`, logs/reports.log in its home.",
    ),
}


def create_app(projects: Mapping[str, Project] | None = None) -> Any:
    """The application, for uvicorn's `--factory`.

    Args:
        projects: by name; those under `defs/` where None.

    Returns:
        A FastAPI application on this home folder.
    """
    from fastapi import FastAPI, Request
    from fastapi.exception_handlers import request_validation_exception_handler
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse, PlainTextResponse, Response
    from fastapi.staticfiles import StaticFiles
    from starlette.exceptions import HTTPException  # noqa: PLC0415

    store = home_store()
    notes = Notes(store)
    demanded = demands_keys(store)
    site = build_site(load_projects() if projects is None else projects)
    desk = Desk(site)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        ready = asyncio.create_task(keep_ready(site))
        yield
        ready.cancel()
        site.reports.close()
        site.lake.close()

    # No generated pages about the API: they load scripts from elsewhere.
    app = FastAPI(title="ml-assets", lifespan=lifespan, openapi_url=None)
    app.include_router(build_drift_reports(site))
    app.include_router(build_pages(site))
    app.include_router(build_partition_pages(site))
    app.include_router(build_exploration_pages(site))
    app.include_router(build_card_pages(site))
    app.include_router(build_version_pages(site))
    app.include_router(build_ledger_pages(site))
    app.include_router(build_replay_pages(site))
    app.include_router(build_predicting(desk))
    app.include_router(build_trying(site, desk))
    app.include_router(build_signing_in(site, store, notes))
    app.include_router(build_acts(site))
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")

    @app.get("/healthz")
    def healthz() -> PlainTextResponse:
        return PlainTextResponse("ok\n")

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        if request.url.path.startswith("/predict/"):  # programs ask there
            return JSONResponse({"error": error.detail}, error.status_code, error.headers)
        title, message = MESSAGES.get(error.status_code, ("Refused", error.detail))
        # A route says what there is instead; the router only repeats the status.
        said = error.detail if error.status_code == 404 and error.detail != "Not Found" else message  # noqa: PLR2004
        response = site.error(error.status_code, title, said, request.url.path)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def misread(request: Request, error: RequestValidationError) -> Response:
        if not request.url.path.startswith(("/projects/", "/ledger")):
            return await request_validation_exception_handler(request, error)
        first = error.errors()[0]
        said = f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg'][:1].lower()}{first['msg'][1:]}."
        return site.error(422, "Not understood", said, request.url.path)

    @app.exception_handler(Exception)
    def failed(request: Request, _: Exception) -> Response:
        # Answered outside the middleware below; the server then logs the exception.
        title, message = MESSAGES[500]
        is_program = request.url.path.startswith("/predict/")
        response = JSONResponse({"error": message}, 500) if is_program else site.error(500, title, message)
        response.headers.update(HEADERS)
        return response

    app.add_middleware(
        Door, store=store, notes=notes, names=own_names(), page=site.error, limits=limits(), demands_keys=demanded
    )
    return app
