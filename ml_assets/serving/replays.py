"""The page of a project's newest replay: what each policy of retraining would have cost, as the asset kept it."""

# Annotations are values here: FastAPI reads those of a route, and its classes are imported inside the function.
from typing import TYPE_CHECKING

from ml_assets.core.replay_pictures import PICTURES
from ml_assets.registry.replays import read_picture, read_replay
from ml_assets.serving.queries import read_state, reading
from ml_assets.serving.site import Site

if TYPE_CHECKING:
    from fastapi import APIRouter


def build_replay_pages(site: Site) -> "APIRouter":
    """The router of the replays and their pictures."""
    from fastapi import APIRouter, HTTPException
    from fastapi.responses import HTMLResponse, Response

    router = APIRouter()

    @router.get("/projects/{project}/replay")
    def replay(project: str) -> HTMLResponse:
        declared = site.project(project)
        with reading(site.lake) as cursor:
            state = read_state(cursor, site.registry, declared, 1)
        found = read_replay(declared.name)
        pictures = [name for name in PICTURES if found and read_picture(declared.name, name) is not None]
        return site.page(
            "replay.html", warnings=[state.warning], state=state, project=declared, found=found, pictures=pictures,
            titles=PICTURES,
        )  # fmt: skip

    @router.get("/projects/{project}/replay/{picture}.png")
    def picture_of_replay(project: str, picture: str) -> Response:
        content = read_picture(site.project(project).name, picture) if picture in PICTURES else None
        if content is None:
            raise HTTPException(404, f"The replay of {project} has no such picture. There are {', '.join(PICTURES)}.")
        return Response(content, media_type="image/png")

    return router
