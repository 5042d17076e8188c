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
    import uvicorn

    from ml_assets.projects import load_projects  # noqa: PLC0415
    from ml_assets.serving.access.server import check_start, options  # noqa: PLC0415
    from ml_assets.serving.app import create_app  # noqa: PLC0415

    check_start(host)
    app = create_app(load_projects())  # a declaration that is wrong is told here
    typer.echo(f"ml-assets: http://{host}:{port}, predictions at /predict/PROJECT, ready when /readyz says so")
    # One worker: what waits is answered together, and champions are loaded once.
    uvicorn.run(app, host=host, port=port, access_log=False, **options())
