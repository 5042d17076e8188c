"""The page of a version's card, made of what is recorded today; and the same as Markdown."""

# Annotations are values here: FastAPI reads those of a route, and its classes are imported inside the function.
from typing import TYPE_CHECKING

from ml_assets.core.card import as_markdown, card_of
from ml_assets.registry.cards import subject_of
from ml_assets.registry.models import RegistryError
from ml_assets.serving import numbers  # noqa: F401 - what `number` is in an address
from ml_assets.serving.queries import reading
from ml_assets.serving.site import Site

if TYPE_CHECKING:
    from fastapi import APIRouter

    from ml_assets.core.card import Subject


def build_card_pages(site: Site) -> "APIRouter":
    """The router of the cards."""
    from fastapi import APIRouter
    from fastapi.responses import HTMLResponse, PlainTextResponse

    router = APIRouter()

    @router.get("/projects/{project}/versions/{number:number}/card")
    def card(project: str, number: int) -> HTMLResponse:
        subject = _subject(site, project, number)
        return site.page(
            "card.html", warnings=[subject.warning], project=site.project(project), name=subject.name,
            sections=card_of(subject), number=number,
        )  # fmt: skip

    @router.get("/projects/{project}/versions/{number:number}/card.md")
    def card_file(project: str, number: int) -> PlainTextResponse:
        subject = _subject(site, project, number)
        return PlainTextResponse(as_markdown(subject.name, card_of(subject)))

    return router


def _subject(site: Site, project: str, number: int) -> "Subject":
    from fastapi import HTTPException

    declared = site.project(project)
    try:
        version = site.registry.version(declared.name, number)
        with reading(site.lake) as cursor:
            if cursor is None:
                raise HTTPException(404, "There is no lake yet.")
            return subject_of(cursor, site.registry, version, description=declared.description, owners=declared.owners)
    except RegistryError as error:
        raise HTTPException(404, f"{error}.") from error
