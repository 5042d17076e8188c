"""The application, asked without a server in between."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx

from ml_assets.serving.app import create_app

if TYPE_CHECKING:
    from ml_assets.project import Project

ROW = {"month": "2024-03-01", "town": "EAST", "area": 100}


class Service:
    """One application over the present home."""

    def __init__(self, project: Project) -> None:
        self.app, self.name = create_app({project.name: project}), project.name

    def predict(self, row: Any = None, **options: Any) -> httpx.Response:
        """POST a row, or whatever `options` say."""
        body = {} if row is None else {"json": row}
        return self.ask("POST", f"/predict/{self.name}", **body, **options)

    def get(self, path: str) -> httpx.Response:
        return self.ask("GET", path)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            async with self.client() as client:
                return await client.request(method, path, **options)

        return asyncio.run(once())

    def client(self) -> httpx.AsyncClient:
        # An error inside is an error of the test.
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3001", timeout=60)
