"""The pages of versions: all of them, what one is worth and why it was trained, and what is different in two.

From records and evaluations, computed no second time.
"""

# Annotations are values here: FastAPI reads those of a route, and its classes are imported inside the function.
from typing import TYPE_CHECKING, Annotated, Any

from ml_assets.lives import diff_versions
from ml_assets.registry.cards import gates_of
from ml_assets.registry.export import parity
from ml_assets.registry.models import RegistryError
from ml_assets.serving.comparing import compare
from ml_assets.serving.numbers import DIGITS
from ml_assets.serving.queries import read_state, reading
from ml_assets.serving.site import Site
from ml_assets.serving.stories import why_trained

if TYPE_CHECKING:
    from fastapi import APIRouter

    from ml_assets.project import Project
    from ml_assets.registry.models import Version
    from ml_assets.serving.queries import State


def build_version_pages(site: Site) -> "APIRouter":
    """The router of the versions' pages and their pictures."""
    from fastapi import APIRouter, HTTPException, Query
    from fastapi.responses import HTMLResponse, RedirectResponse, Response

    router = APIRouter()
    Number = Annotated[int, Query(ge=1, lt=10**DIGITS)]  # noqa: N806 - a type

    def state_of(project: "Project") -> "State":
        with reading(site.lake) as cursor:
            return read_state(cursor, site.registry, project, 1)

    @router.get("/projects/{project}/versions")
    def versions(project: str) -> HTMLResponse:
        declared = site.project(project)
        state = state_of(declared)
        return site.page("versions.html", warnings=[state.warning], project=declared, state=state)

    @router.get("/projects/{project}/versions/{number:number}")
    def version(project: str, number: int) -> HTMLResponse:
        declared = site.project(project)
        try:
            record = site.registry.version(declared.name, number)
            found = site.registry.evaluation(declared.name, number)
            exported = parity(site.registry, record)
        except RegistryError as error:
            raise HTTPException(404, f"{error}.") from error
        state = state_of(declared)
        stage = next((one.stage for one in state.versions if one.number == number), "candidate")
        why = why_trained(state.entries, number)
        return site.page(
            "version.html", warnings=[state.warning], project=declared, state=state, version=record, stage=stage,
            found=found, exported=exported, why=why,
            gates=gates_of(state.entries, number, found), costs=why.costs,
            life=[one for one in state.entries if one.version == number and one.kind != "decision"][::-1],
        )  # fmt: skip

    @router.get("/projects/{project}/versions/diff")
    def choose(project: str, one: Number, other: Number) -> RedirectResponse:
        name = site.project(project).name
        return RedirectResponse(f"/projects/{name}/versions/{one}/diff/{other}", 303)

    @router.get("/projects/{project}/versions/{number:number}/diff/{other:number}")
    def diff(project: str, number: int, other: int) -> HTMLResponse:
        declared = site.project(project)
        try:
            one, against = _side(site, declared, number), _side(site, declared, other)
            settings = diff_versions(declared, site.registry, number, other)
        except RegistryError as error:
            raise HTTPException(404, f"{error}.") from error
        state = state_of(declared)
        compared = compare(one, against, settings)
        return site.page(
            "diff.html", warnings=[state.warning], project=declared, state=state, found=compared,
            whys=[why_trained(state.entries, each) for each in (number, other)],
        )  # fmt: skip

    @router.get("/projects/{project}/versions/{number:number}/{picture}.png")
    def picture_of_version(project: str, number: int, picture: str) -> Response:
        content = _picture(site, site.project(project), number, picture)
        if content is None:
            raise HTTPException(404, f"Version {number} of {project} has no such picture.")
        return Response(content, media_type="image/png")

    return router


def _picture(site: Site, project: "Project", number: int, name: str) -> bytes | None:
    try:
        return site.registry.picture(project.name, number, name)
    except RegistryError:  # the version's own page says what is wrong
        return None


def _side(site: Site, project: "Project", number: int) -> "tuple[Version, dict[str, Any]]":
    """A version's record and its evaluation; an empty one where it was never judged."""
    return site.registry.version(project.name, number), site.registry.evaluation(project.name, number) or {}
