"""The page at `/` and the files that it is made of."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

_CONTENT_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


def add_routes(app: web.Application) -> None:
    """Serve the page, and nothing but its own files."""
    for file in resources.files(__package__).joinpath("static").iterdir():
        path = "/" if file.name == "index.html" else f"/static/{file.name}"
        app.router.add_get(path, _StaticFile(file).answer)


class _StaticFile:
    """A file, kept in memory and sent unless the browser has it."""

    def __init__(self, file: Traversable) -> None:
        self._content = file.read_bytes()
        self._content_type = _CONTENT_TYPES[f".{file.name.rpartition('.')[2]}"]
        self._tag = hashlib.sha256(self._content).hexdigest()[:16]

    async def answer(self, request: web.Request) -> web.Response:
        """Answer with the file, or that the browser's copy is current."""
        headers = {"Cache-Control": "no-cache", "ETag": f'"{self._tag}"'}
        if any(known.value == self._tag for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        return web.Response(
            body=self._content,
            content_type=self._content_type,
            charset="utf-8",
            headers=headers,
        )
