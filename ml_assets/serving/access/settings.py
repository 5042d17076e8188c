"""What a server's owner sets about access: whether keys are demanded before there is any, and what the server bears."""

from __future__ import annotations

import ipaddress
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ml_assets import settings
from ml_assets.serving.access.keys import AccessError, list_keys
from ml_assets.serving.access.limits import Limits

if TYPE_CHECKING:
    from ml_assets.serving.access.store import Store

ACCESS = "ML_ASSETS_ACCESS"


def demands_keys(store: Store) -> bool:
    """Whether a key must be shown although none has ever been made.

    So it is where others can reach the server: `ML_ASSETS_ACCESS=keys` says so, which `ml-assets up` sets beyond
    loopback, or `ML_ASSETS_URL` names another machine than this one.

    Raises:
        AccessError: if it is so and there is no key: nobody could do anything.
    """
    said = os.environ.get(ACCESS, "")
    if said not in {"", "keys"}:
        raise AccessError(f"{ACCESS} is {said!r}. Remedy: `keys`, or unset it")
    demanded = bool(said) or not is_loopback(urlsplit(settings.reports_url()).hostname or "")
    if demanded:
        require_key(store)
    return demanded


def require_key(store: Store) -> None:
    """Make sure that somebody can get in.

    Raises:
        AccessError: if no key opens anything.
    """
    if not any(key.is_usable(time.time()) for key in list_keys(store)):
        raise AccessError(
            "others can reach this server, and there is no key that opens it. Remedy: `ml-assets keys add NAME "
            "--project '*' --scope look --scope decide`; or listen on 127.0.0.1 only, with ML_ASSETS_URL unset"
        )


def limits() -> Limits:
    """What the server bears, where the environment says otherwise than `Limits`.

    Raises:
        AccessError: if it says what is no number above 0.
    """
    said = Limits()
    return replace(
        said,
        key_rate=_number("ML_ASSETS_KEY_RATE", said.key_rate),
        address_rate=_number("ML_ASSETS_ADDRESS_RATE", said.address_rate),
        rows_bytes=int(_number("ML_ASSETS_MAX_BODY_MB", said.rows_bytes / 2**20) * 2**20),
    )


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, seen from itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _number(name: str, default: float) -> float:
    said = os.environ.get(name, "")
    try:
        number = float(said or default)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise AccessError(f"{name} is {said!r}. Remedy: a number above 0, or unset it")
    return number
