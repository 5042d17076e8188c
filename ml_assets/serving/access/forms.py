"""Forms: small, urlencoded, and of ours: each carries the token of the session that it was shown in."""

# Annotations are values here: FastAPI reads those of a route, and its classes are imported inside the function.
import hmac
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote

from ml_assets.serving.access.caller import CURRENT

if TYPE_CHECKING:
    from starlette.requests import Request

TOKEN_FIELD = "form_token"  # noqa: S105 - a field's name


async def read_form(request: "Request") -> dict[str, str]:
    """The fields of a form, the last of each name.

    Raises:
        HTTPException: 415 if it is none, 400 if it cannot be read.
    """
    from fastapi import HTTPException

    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "This takes a form: application/x-www-form-urlencoded.")
    try:
        fields = parse_qs(
            (await request.body()).decode(), keep_blank_values=True, strict_parsing=True, max_num_fields=20
        )
    except ValueError as error:
        raise HTTPException(400, "This form cannot be read.") from error
    return {name: values[-1] for name, values in fields.items()}


async def read_own_form(request: "Request") -> dict[str, str]:
    """The fields of a form that we have shown to whoever sends it.

    A program that shows its key in a header needs no token: a browser adds no such header by itself.

    Raises:
        HTTPException: as above; 403 if the token is missing or another session's.
    """
    from fastapi import HTTPException

    fields, caller = await read_form(request), CURRENT.get()
    by_header = caller.key and not caller.form_token
    if not by_header:
        shown = fields.get(TOKEN_FIELD, "").encode()
        if not caller.form_token or not hmac.compare_digest(shown, caller.form_token.encode()):
            raise HTTPException(
                403, "This form was not shown in your session. Open the page again, and send it from there."
            )
    return fields


def local_path(text: str) -> str:
    """A path of this site to go on to, fit for a header; the start page for whatever could lead elsewhere."""
    # Browsers take two slashes, or a backslash for one, as the beginning of another host.
    if not text.startswith("/") or text.startswith("//") or "\\" in text or not text.isprintable():
        return "/"
    return quote(text, safe="/?&=%#:@!$'()*+,;~-._")
