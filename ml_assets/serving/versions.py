"""The page of a version: what it is worth, and why; from its record and its evaluation, computed no second time."""

# Annotations are values here: FastAPI reads those of a route, and its classes are imported inside the function.
from typing import TYPE_CHECKING

from ml_assets.registry.models import RegistryError
from ml_assets.serving.queries import read_state, reading
from ml_assets.serving.site import Site

if TYPE_CHECKING:
    from fastapi import APIRouter


def build_version_pages(site: Site) -> "APIRouter":
    """The router of the versions' pages and their pictures."""
    from fastapi import APIRouter, HTTPException
    from fastapi.responses import HTMLResponse, Response

    router = APIRouter()

    @router.get("/projects/{project}/versions/{number:int}")
    def version(project: str, number: int) -> HTMLResponse:
        declared = site.project(project)
        try:
            record = site.registry.version(declared.name, number)
            found = site.registry.evaluation(declared.name, number)
        except RegistryError as error:
            raise HTTPException(404, f"{error}.") from error
        with reading(site.lake) as cursor:
            state = read_state(cursor, site.registry, declared)
        stage = next((one.stage for one in state.versions if one.number == number), "candidate")
        return site.page(
            "version.html", warnings=[state.warning], project=declared, version=record, stage=stage, found=found
        )

    @router.get("/projects/{project}/versions/{number:int}/{picture}.png")
    def picture_of_version(project: str, number: int, picture: str) -> Response:
        content = site.registry.picture(site.project(project).name, number, picture)
        if content is None:
            raise HTTPException(404, f"Version {number} of {project} has no such picture.")
        return Response(content, media_type="image/png")

    return router
