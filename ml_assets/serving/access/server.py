"""Serving the application: where, with which limits, and not for others before there is a key.

`ml-assets up` runs this module beside Dagster; `ml-assets serve` is the same alone.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from typing import Any

from ml_assets.serving.access.keys import AccessError
from ml_assets.serving.access.settings import ACCESS, is_loopback, require_key
from ml_assets.serving.access.store import home_store

# Seconds that a connection may be silent between two requests (a client that reuses one just as it is closed has a
# request fail); connections at once, of whoever asks.
KEEP_ALIVE_SECONDS, MOST_CONNECTIONS = 30, 1000


def options() -> dict[str, Any]:
    """What uvicorn is told wherever the application is served, beside the address."""
    from ml_assets.serving.access.protocol import Impatient  # noqa: PLC0415 - imports uvicorn

    return {
        "http": Impatient, "ws": "none", "timeout_keep_alive": KEEP_ALIVE_SECONDS,
        "limit_concurrency": MOST_CONNECTIONS, "server_header": False, "log_level": "warning",
    }  # fmt: skip


def check_start(host: str) -> None:
    """Demand keys from here on where others can reach the server.

    Args:
        host: the address to listen on.

    Raises:
        AccessError: if they can, and no key opens anything.
    """
    if not is_loopback(host):
        require_key(home_store())
        # Read by the application, in this process and in those that it is served by.
        os.environ[ACCESS] = "keys"


def application(host: str) -> Any:
    """The application with all projects that are declared.

    Args:
        host: the address that it will be served at.

    Raises:
        AccessError: if others can reach it, and no key opens anything.
        Exception: what is wrong with a declaration.
    """
    check_start(host)
    # All of what is imported stays: to look through it for garbage again and again is a fifth of the time to start.
    gc.disable()
    try:
        from ml_assets.projects import load_projects  # noqa: PLC0415 - imports Dagster
        from ml_assets.serving.app import create_app  # noqa: PLC0415

        return create_app(load_projects())
    finally:
        gc.freeze()
        gc.enable()


def listen(app: Any, host: str, port: int) -> None:
    """Serve an application until a signal ends it.

    One process: what waits is answered together, and champions are loaded once.
    """
    import uvicorn

    uvicorn.run(app, host=host, port=port, access_log=False, **options())


def main() -> None:
    """`python -m ml_assets.serving.access.server`."""
    parser = argparse.ArgumentParser(description="Serve the pages and the predictions.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=3001)
    said = parser.parse_args()
    try:
        listen(application(said.host), said.host, said.port)
    except AccessError as error:
        sys.exit(f"ml-assets: {error}")


if __name__ == "__main__":
    main()
