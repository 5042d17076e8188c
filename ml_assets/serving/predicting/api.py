"""`POST /predict/{project}`: rows in, predictions out; and what watches over it: `/readyz` and `/metrics`.

Errors are JSON here, with a message for people: never a page, never a stack trace.
"""

# Annotations are values here: FastAPI's classes are imported inside the function.
import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import duckdb
from pydantic_core import to_json

from ml_assets import settings
from ml_assets.core.statement import nearest
from ml_assets.lake.connection import LakeError
from ml_assets.registry.models import RegistryError
from ml_assets.serving.predicting.bulk import ARROW, MOST, PARQUET, read_body, written
from ml_assets.serving.predicting.champions import Champions
from ml_assets.serving.predicting.document import EXPLAINED, document
from ml_assets.serving.predicting.inputs import CannotServeError
from ml_assets.serving.predicting.log import RequestLog
from ml_assets.serving.predicting.metrics import Metrics
from ml_assets.serving.predicting.pinned import Failure, NotNowError
from ml_assets.serving.predicting.request import MalformedError, RefusedError
from ml_assets.serving.predicting.served import Served
from ml_assets.serving.site import Site

if TYPE_CHECKING:
    from fastapi import APIRouter
    from starlette.requests import Request
    from starlette.responses import Response

LOG = logging.getLogger(__name__)
JSON = "application/json"
# Bytes of a body: of JSON, and of the other kinds.
LARGEST = {JSON: 16 * 2**20, ARROW: 512 * 2**20, PARQUET: 512 * 2**20}
# Bytes of a body that is read in the loop itself.
SMALL = 16 * 2**10
# Seconds that a body may take to come.
PATIENCE = 60.0
# Of a request whose sender has gone, as proxies count it: nobody reads the answer.
GONE = 499
VERSION = re.compile(r"[1-9][0-9]{0,8}")
# Why we are not ready, as anybody may read it.
STARTING = "starting: the ledger is being read and the champions are being loaded. Remedy: ask again in a moment"
FAILED = "a champion cannot be loaded: the server's log says which and why"
NOT_POST = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


class RefusedRequestError(Exception):
    """A request that gets an answer with this code and these words."""

    def __init__(self, code: int, words: str, **more: Any) -> None:
        super().__init__(words)
        self.code, self.content = code, {"error": words, **more}


def build_predicting(desk: "Desk") -> "APIRouter":
    """The router of the predictions. The versions are loaded when the application starts."""
    from fastapi import APIRouter
    from starlette.concurrency import run_in_threadpool  # noqa: PLC0415

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        desk.start()
        yield
        await run_in_threadpool(desk.stop)

    router = APIRouter(lifespan=lifespan)
    router.add_route("/predict/{project}", desk.predict, ["POST"])
    router.add_route("/predict/{project}", desk.only_post, NOT_POST)
    router.add_route("/predict/{project}/openapi.json", desk.openapi, ["GET"])
    router.add_route("/readyz", desk.readyz, ["GET"])
    router.add_route("/metrics", desk.metrics_page, ["GET"])
    return router


class Desk:
    """Answers requests.

    Attributes:
        champions: what is served.
        metrics: what is counted.
        log: what is kept of requests.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self.metrics = Metrics()
        self.champions = Champions(site.projects, site.lake, site.registry, self.metrics)
        self.log = RequestLog(site.lake, settings.home(), self.metrics)

    def start(self) -> None:
        """Load the champions, and follow the ledger."""
        self.champions.start()
        self.log.start()

    def stop(self) -> None:
        """Stop following; what was asked is kept."""
        self.champions.stop()
        self.log.stop()

    async def predict(self, request: "Request") -> "Response":
        """`POST /predict/{project}`."""
        from starlette.requests import ClientDisconnect  # noqa: PLC0415

        started, name, code = time.perf_counter(), request.path_params["project"], 500
        try:
            response = await self._answered(request, name)
            code = response.status_code
        except RefusedRequestError as refused:
            code, response = refused.code, json_of(refused.content, refused.code)
        except ClientDisconnect:
            code, response = GONE, json_of({"error": "the body was not sent to its end"}, GONE)
        finally:
            known = name if name in self._site.projects else "unknown"
            self.metrics.requests.labels(known, code).inc()
            self.metrics.seconds.labels(known).observe(time.perf_counter() - started)
        return response

    async def openapi(self, request: "Request") -> "Response":
        """`GET /predict/{project}/openapi.json`."""
        try:
            _require_parameters(request, ("version",))
            return json_of(document(await self._served(request, request.path_params["project"])))
        except RefusedRequestError as refused:
            return json_of(refused.content, refused.code)

    async def only_post(self, _: "Request") -> "Response":
        """Any other method."""
        return json_of({"error": "rows are sent by POST"}, 405, {"Allow": "POST"})

    async def readyz(self, _: "Request") -> "Response":
        """`GET /readyz`: 200 where every project that has a champion serves a version, else 503 and why.

        Which project it is and which version, is told to who may look.
        """
        ready = self.champions.is_ready
        shown = {name: told for name, told in self.champions.state().items() if self._site.is_shown(name)}
        why = {} if ready else {"reason": FAILED if self.champions.has_looked else STARTING}
        return json_of({"ready": ready} | why | ({"projects": shown} if shown else {}), 200 if ready else 503)

    async def metrics_page(self, _: "Request") -> "Response":
        """`GET /metrics`."""
        from starlette.responses import Response  # noqa: PLC0415

        return Response(self.metrics.page(), media_type="text/plain; version=0.0.4")

    async def _answered(self, request: "Request", name: str) -> "Response":
        from starlette.concurrency import run_in_threadpool  # noqa: PLC0415

        kind = (request.headers.get("content-type") or JSON).partition(";")[0].strip().lower()
        if kind not in LARGEST:
            raise RefusedRequestError(415, f"{kind[:60]} is not read here: expected {', '.join(LARGEST)}")
        _require_parameters(request, ("version", "explain"))
        explain = _flag(request, "explain")
        served = await self._served(request, name)
        body = await _body(request, LARGEST[kind])
        try:
            if kind == JSON:
                return await self._json(served, body, explain=explain)
            if explain:
                raise RefusedRequestError(400, "explain: only the prediction of a JSON request is explained")
            return await run_in_threadpool(self._bulk, served, kind, body)
        except MalformedError as error:
            raise RefusedRequestError(400, str(error)) from error
        except CannotServeError as error:
            raise RefusedRequestError(409, f"explain: {error}") from error
        except (LakeError, RegistryError, duckdb.Error) as error:
            LOG.exception("%s: version %d could not answer", name, served.number)
            told = self.champions.told(error)
            raise RefusedRequestError(503, f"version {served.number} of {name} cannot answer now: {told}") from error
        except RefusedError as error:
            mistakes = [asdict(one) for one in error.mistakes]
            raise RefusedRequestError(422, str(error), mistakes=mistakes, more=error.more) from error

    async def _json(self, served: Served, body: bytes, *, explain: bool) -> "Response":
        from starlette.concurrency import run_in_threadpool  # noqa: PLC0415

        most = served.max_rows
        # A large body is read beside the loop, which others wait for.
        read = served.contract.read
        rows = read(body, most) if len(body) < SMALL else await run_in_threadpool(read, body, most)
        if served.demands_more:
            await run_in_threadpool(served.refuse, rows)
        if len(rows) <= served.together:
            answers = await served.batcher.ask(rows)
        else:
            answers = await run_in_threadpool(served.answer, rows)
        for row, answer in zip(rows[: EXPLAINED if explain else 0], answers, strict=False):
            answer.told["explanation"] = await run_in_threadpool(served.explain, row)
        self.log.note(served, rows, answers)
        name, number = served.project.name, served.number
        self.metrics.rows.labels(name, number).inc(len(rows))
        predictions = [answer.told for answer in answers]
        told = {"project": name, "version": number, "engine": served.scorer.engine, "predictions": predictions}
        return json_of(told | ({"warning": served.warning} if served.warning else {}))

    def _bulk(self, served: Served, kind: str, body: bytes) -> "Response":
        from starlette.responses import Response  # noqa: PLC0415

        rows = served.judge.refuse(read_body(kind, body, served.judge.chosen, served.features.most or MOST))
        answers = served.answer_frame(rows)
        name, number = served.project.name, served.number
        self.metrics.rows.labels(name, number).inc(answers.height)
        told = {"X-Project": name, "X-Version": str(number), "X-Engine": served.scorer.engine}
        if served.warning:
            told["X-Warning"] = served.warning.encode("latin-1", "replace").decode("latin-1")
        return Response(written(kind, answers), media_type=kind, headers=told)

    async def _served(self, request: "Request", name: str) -> Served:
        """The version that a request is for."""
        from starlette.concurrency import run_in_threadpool  # noqa: PLC0415

        projects = self._site.projects
        if name not in projects:
            raise RefusedRequestError(404, f"there is no project {name[:60]!r}; {nearest(name[:60], list(projects))}")
        try:
            if not self.champions.has_looked:
                await run_in_threadpool(self.champions.look_first)
            if "version" in request.query_params:
                return await self._pinned(name, request.query_params["version"])
        except NotNowError as error:
            raise RefusedRequestError(503, str(error)) from error
        served = self.champions.current(name)
        if served is not None:
            return served
        state = self.champions.state().get(name)
        if state is None:
            raise RefusedRequestError(404, f"{name} has no champion yet. Remedy: `ml-assets backfill {name}`")
        why = state.get("failed", {}).get("reason", "it is being loaded")
        raise RefusedRequestError(503, f"the champion of {name}, version {state['champion']}, cannot answer: {why}")

    async def _pinned(self, name: str, text: str) -> Served:
        """The version whose number stands in the address."""
        from starlette.concurrency import run_in_threadpool  # noqa: PLC0415

        if not VERSION.fullmatch(text):
            raise RefusedRequestError(422, f"version: {text[:60]!r} is no version: expected a number from 1")
        number, there = int(text), await run_in_threadpool(self._site.registry.numbers, name)
        if number not in there:
            told = ", ".join(map(str, there)) or "none"
            raise RefusedRequestError(404, f"{name} has no version {number}. It has: {told}")
        found = await self.champions.wait_for_pinned(name, number)
        if isinstance(found, Failure):
            raise RefusedRequestError(409, f"version {number} of {name} cannot answer: {found.reason}")
        return found


def json_of(content: Any, code: int = 200, headers: Mapping[str, str] | None = None) -> "Response":
    """An answer in JSON."""
    from starlette.responses import Response  # noqa: PLC0415

    # JSON has no infinity: what a document tells beside predictions, a feature's value, is null then.
    return Response(to_json(content, inf_nan_mode="null"), code, media_type=JSON, headers=dict(headers or {}))


def _require_parameters(request: "Request", known: Sequence[str]) -> None:
    """Refuse parameters of the address that there are not, and one that stands there twice: it would be a slip."""
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            raise RefusedRequestError(422, f"{name[:60]}: there is no such parameter; {nearest(name[:60], known)}")
        if name in seen:
            raise RefusedRequestError(422, f"{name} stands there twice")
        seen.add(name)


def _flag(request: "Request", name: str) -> bool:
    text = request.query_params.get(name, "false")
    if text not in {"true", "false"}:
        raise RefusedRequestError(422, f"{name}: {text[:60]!r} is neither true nor false")
    return text == "true"


async def _body(request: "Request", most: int) -> bytes:
    """The body, refused as soon as it is known to be too large."""
    told = request.headers.get("content-length", "0")
    parts: list[bytes] = []
    size = int(told) if told.isascii() and told.isdigit() else 0
    if size <= most:
        size = 0
        try:
            async with asyncio.timeout(PATIENCE):
                async for part in request.stream():
                    size += len(part)
                    if size > most:
                        break
                    parts.append(part)
        except TimeoutError:
            words = f"the body has not come within {PATIENCE:.0f} s. Remedy: a faster line, or several requests"
            raise RefusedRequestError(408, words) from None
    if size > most:
        raise RefusedRequestError(413, f"the body is larger than {most // 2**20} MiB. Remedy: several requests")
    return b"".join(parts)
