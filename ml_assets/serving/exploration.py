"""The page of a project's exploration, and its pictures: what the asset kept, computed no second time."""

# Annotations are values here: FastAPI reads those of a route, and its classes are imported inside the function.
from typing import TYPE_CHECKING

from ml_assets.registry.explorations import read_exploration, read_picture
from ml_assets.serving.queries import read_state, reading
from ml_assets.serving.site import Site

if TYPE_CHECKING:
    from fastapi import APIRouter


def build_exploration_pages(site: Site) -> "APIRouter":
    """The router of the explorations."""
    from fastapi import APIRouter, HTTPException
    from fastapi.responses import HTMLResponse, Response

    router = APIRouter()

    @router.get("/projects/{project}/exploration")
    def exploration(project: str) -> HTMLResponse:
        declared = site.project(project)
        with reading(site.lake) as cursor:
            state = read_state(cursor, site.registry, declared)
        found = read_exploration(declared.name)
        return site.page("exploration.html", warnings=[state.warning], state=state, project=declared, found=found)

    @router.get("/projects/{project}/exploration/{picture}")
    def exploration_picture(project: str, picture: str) -> Response:
        content = read_picture(site.project(project).name, picture)
        if content is None:
            raise HTTPException(404, f"The exploration of {project} has no such picture.")
        return Response(content, media_type="image/png")

    return router
