"""The pages of the ledger: of all projects and of one, newest first; whether its chain holds; what served on a day."""

# Annotations are values here: FastAPI reads those of a route, and its classes are imported inside the function.
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Any, get_args

from ml_assets.lake.origin import origin_warning
from ml_assets.lives import parse_moment, served
from ml_assets.registry.audit import verify_newest
from ml_assets.registry.ledger import Kind, read_page
from ml_assets.serving.access.caller import CURRENT
from ml_assets.serving.queries import reading
from ml_assets.serving.site import Site
from ml_assets.serving.stories import TITLES

if TYPE_CHECKING:
    from fastapi import APIRouter

PAGE = 50
# Links of the chain that a page holds against each other: as many as a moment allows.
CHECKED = 500


def build_ledger_pages(site: Site) -> "APIRouter":
    """The router of the ledger."""
    from fastapi import APIRouter, HTTPException, Query
    from fastapi.responses import HTMLResponse

    router = APIRouter(default_response_class=HTMLResponse)
    Day = Annotated[str, Query(max_length=10)]  # noqa: N806 - a type
    Before = Annotated[str, Query(pattern=r"^\d{0,18}$")]  # noqa: N806

    def page(project: str, *, kind: str, since: str, until: str, before: str, on: str = "") -> HTMLResponse:
        declared = site.project(project) if project else None
        if kind and kind not in get_args(Kind):
            raise HTTPException(404, f"kind={kind}: there are {', '.join(get_args(Kind))}.")
        try:
            ends = _ends(since, until)
            moment = parse_moment(on) if on else None
        except ValueError as error:
            raise HTTPException(404, f"{str(error).replace('--on', 'on =')}.") from error
        with reading(site.lake) as cursor:
            found, chain, answers, warnings = [], None, None, []
            if cursor is not None:
                found = read_page(cursor, _seen(site, project), kind, ends, before=int(before or 0), limit=PAGE + 1)
                chain = verify_newest(site.lake, CHECKED)
                names = [project] if project else [one.name for one in site.shown()]
                warnings = [origin_warning(cursor, name) for name in names]
                answers = served(cursor, declared, *moment) if declared and moment else None
        shown = found[:PAGE]
        about: dict[str, Any] = {"project": declared} if declared else {}
        return site.page(
            "ledger.html", warnings=warnings, entries=shown, chain=chain, served=answers, kinds=TITLES,
            more=shown[-1].id if len(found) > PAGE else 0,
            asked={"kind": kind, "since": since, "until": until, "before": before, "on": on},
            **about,
        )  # fmt: skip

    @router.get("/ledger")
    def ledger_of_all(*, kind: str = "", since: Day = "", until: Day = "", before: Before = "") -> HTMLResponse:
        return page("", kind=kind, since=since, until=until, before=before)

    @router.get("/projects/{project}/ledger")
    def ledger(
        project: str, *, kind: str = "", since: Day = "", until: Day = "", before: Before = "", on: str = ""
    ) -> HTMLResponse:
        return page(project, kind=kind, since=since, until=until, before=before, on=on)

    return router


def _seen(site: Site, project: str) -> "list[str] | None":
    """The projects whose entries are shown; None for all, those too that are declared no more."""
    if project:
        return [project]
    return None if CURRENT.get().may_everywhere("look") else [one.name for one in site.shown()]


def _ends(since: str, until: str) -> tuple[str, str]:
    """The ends of a span of days, both included, as moments of the ledger: the second is the day after, or "".

    Raises:
        ValueError: naming what is no day.
    """
    found = []
    for name, text in (("since", since), ("until", until)):
        try:
            day = date.fromisoformat(text) if text else None
        except ValueError as error:
            raise ValueError(f"{name} = {text}: expected a day in UTC, such as 2024-05-03") from error
        found.append(day)
    first, last = found
    # After the last day that there is nothing comes: that end is none.
    return str(first or ""), str(last + timedelta(days=1)) if last and last < date.max else ""
