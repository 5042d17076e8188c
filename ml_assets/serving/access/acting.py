"""What a person does from a page: approve, reject, promote, go back, answer; by the functions that the commands call.

A page first says what would happen. The act is one entry of the ledger with the key's name and a reason; what is made
of it afterwards (the ONNX file, the cards) may take seconds: a request that would wait for longer shows where it is.
"""

# Annotations are values here: FastAPI reads those of a route, and its classes are imported inside the function.
import logging
import secrets
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Annotated

from ml_assets.registry.models import RegistryError
from ml_assets.serving.access.caller import Caller
from ml_assets.serving.access.forms import read_own_form
from ml_assets.serving.access.plans import OF_VERSIONS, Deed, plan
from ml_assets.serving.numbers import DIGITS, number_in
from ml_assets.serving.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi import APIRouter
    from starlette.requests import Request as AnyRequest
    from starlette.responses import Response as AnyResponse

    from ml_assets.assets.acts import Person
    from ml_assets.project import Project
    from ml_assets.registry.ledger import Entry

# How long a request waits for its act, and how many acts are remembered.
WAIT_SECONDS = 2.0
REMEMBERED = 100
LOG = logging.getLogger(__name__)
# Characters of a reason.
LONGEST_REASON = 2000


class Doing:
    """Acts under way, one after another: they would wait for the same lock anyway."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="act")
        self._acts: dict[str, tuple[str, Future[Entry]]] = {}

    def begin(self, project: str, act: "Callable[[], Entry]") -> "tuple[str, Future[Entry]]":
        """Begin an act, and say under which name it is found."""
        name, begun = secrets.token_hex(8), self._worker.submit(_logged, project, act)
        self._acts[name] = (project, begun)
        for old in list(self._acts)[:-REMEMBERED]:
            del self._acts[old]
        return name, begun

    def find(self, project: str, name: str) -> "Future[Entry] | None":
        """An act in a project; None where there is none of that name, or it is forgotten."""
        of, begun = self._acts.get(name, ("", None))
        return begun if of == project else None


def _logged(project: str, act: "Callable[[], Entry]") -> "Entry":
    """Do an act; an error that nobody has foreseen is told in the log too, where it outlives whoever waits for it."""
    from ml_assets.assets.acts import ActError  # noqa: PLC0415 - imports much, for few requests

    try:
        return act()
    except (ActError, RegistryError):
        raise
    except Exception:
        LOG.exception("an act in %s was not done, or not all of it", project)
        raise


class Acts:
    """What the routes do.

    Args:
        site: the site.
    """

    def __init__(self, site: Site) -> None:
        self._site, self._doing = site, Doing()

    def ask(self, project: str, deed: Deed, number: int | None) -> "AnyResponse":
        """The page that says what would happen."""
        from fastapi import HTTPException

        declared = self._site.project(project)
        try:
            planned = plan(self._site, declared, deed, number)
        except RegistryError as error:
            raise HTTPException(404, f"{error}.") from error
        return self._site.page(
            "act.html",
            warnings=self._site.warnings_of(declared),
            project=declared,
            plan=planned,
            longest=LONGEST_REASON,
        )

    async def do(self, request: "AnyRequest", project: str, deed: Deed, number: int | None) -> "AnyResponse":
        """Do it, and show what became of it."""
        from fastapi.concurrency import run_in_threadpool

        declared, fields = self._site.project(project), await read_own_form(request)
        act = _act(
            self._site,
            declared,
            deed,
            _number(fields, number),
            person=_person(request.state.caller, fields),
            answer=fields.get("answer", ""),
        )
        name, begun = self._doing.begin(project, act)
        await run_in_threadpool(wait, [begun], WAIT_SECONDS)
        return await run_in_threadpool(self.show, project, name)

    def show(self, project: str, name: str) -> "AnyResponse":
        """What became of an act: the page of what it is about, or why it could not be done."""
        from fastapi.responses import RedirectResponse

        from ml_assets.assets.acts import ActError, UnpublishedError  # noqa: PLC0415 - imports much, for few requests

        declared, act = self._site.project(project), self._doing.find(project, name)
        if act is None:
            told = "This act is not known any more: the server was started again, or many came after it. What the"
            return self._site.error(404, "Not known any more", f"{told} ledger of {project} says is what was done.")
        if not act.done():
            response = self._site.page(
                "acting.html", warnings=self._site.warnings_of(declared), status=202, project=declared
            )
            response.headers["Refresh"] = f"2; url=/projects/{project}/acts/{name}"
            return response
        try:
            entry = act.result()
        except (ActError, RegistryError) as error:
            return self._site.error(409, "Not done", f"{error}.")
        except UnpublishedError as error:
            return self._site.error(500, "Done, but not all that follows from it", f"{error}.")
        return RedirectResponse(f"/projects/{project}" + (f"/versions/{entry.version}" if entry.version else ""), 303)


def build_acts(site: Site) -> "APIRouter":
    """The router of the acts: GET says what would happen, POST does it."""
    from fastapi import APIRouter, Query, Request
    from fastapi.responses import HTMLResponse, Response

    router, acts = APIRouter(include_in_schema=False, default_response_class=HTMLResponse), Acts(site)

    def add(deed: Deed) -> None:
        address = f"/projects/{{project}}/versions/{{number:number}}/{deed}"

        @router.get(address)
        def ask(project: str, number: int) -> Response:
            return acts.ask(project, deed, number)

        @router.post(address)
        async def do(request: Request, project: str, number: int) -> Response:
            return await acts.do(request, project, deed, number)

    for deed in OF_VERSIONS:
        add(deed)

    @router.get("/projects/{project}/rollback")
    def ask_rollback(project: str, version: Annotated[int | None, Query(ge=1, lt=10**DIGITS)] = None) -> Response:
        return acts.ask(project, "rollback", version)

    @router.post("/projects/{project}/rollback")
    async def roll_back(request: Request, project: str) -> Response:
        return await acts.do(request, project, "rollback", None)

    @router.get("/projects/{project}/decisions/{number:number}/answer")
    def ask_answer(project: str, number: int) -> Response:
        return acts.ask(project, "answer", number)

    @router.post("/projects/{project}/decisions/{number:number}/answer")
    async def answer(request: Request, project: str, number: int) -> Response:
        return await acts.do(request, project, "answer", number)

    @router.get("/projects/{project}/acts/{name}")
    def show(project: str, name: str) -> Response:
        return acts.show(project, name)

    return router


def _person(caller: Caller, fields: dict[str, str]) -> "Person":
    """Who acts, and why. Beside the name stands which key: people choose names, and two keys may have one."""
    from fastapi import HTTPException

    from ml_assets.assets.acts import Person  # noqa: PLC0415

    why = fields.get("why", "")
    if not why.strip() or len(why) > LONGEST_REASON:
        raise HTTPException(422, f"Say why, in 1 to {LONGEST_REASON:,} characters: it stays in the record.")
    return Person(caller.name, why, f"key {caller.key}")


def _number(fields: dict[str, str], number: int | None) -> int | None:
    """The version that is meant: that of the address, else that of the form, which is what its page has shown."""
    from fastapi import HTTPException

    shown = fields.get("version", "")
    if number is not None or not shown:
        return number
    if (found := number_in(shown)) is None:
        raise HTTPException(422, "version: this is no version's number.")
    return found


def _act(
    site: Site, project: "Project", deed: Deed, number: int | None, *, person: "Person", answer: str
) -> "Callable[[], Entry]":
    """What does it: the function that the command calls."""
    from fastapi import HTTPException

    from ml_assets.assets import acts, answers  # noqa: PLC0415

    if deed == "answer":
        if answer not in {"yes", "no"}:
            raise HTTPException(422, "Say yes or no.")
        return lambda: answers.answer(project, site.lake, number, person, yes=answer == "yes")
    if deed == "rollback":
        return lambda: acts.roll_back(project, site.lake, number, person)
    if deed == "promote":
        return lambda: acts.promote(project, site.lake, number or 0, person)
    judge = acts.approve if deed == "approve" else acts.decline
    return lambda: judge(project, site.lake, number, person)
