"""The command `ml-assets serve`."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 3001,
) -> None:
    """Serve pages and predictions alone, without Dagster; Ctrl-C stops.

    It answers under its own names only: for others than loopback set ML_ASSETS_URL to the address that people use.
    """
    from ml_assets.serving.access.server import application, listen  # noqa: PLC0415

    app = application(host)
    typer.echo(f"ml-assets: http://{host}:{port}, predictions at /predict/PROJECT, ready when /readyz says so")
    listen(app, host, port)
