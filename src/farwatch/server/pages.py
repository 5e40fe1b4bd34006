"""The dashboard: static files of one folder, and its page for every address that is not the API's.

All addresses in the page are relative to its `<base>`, which is computed from how deep the asked path is, so it works under any path
of any proxy.
"""

import html
import mimetypes
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from farwatch.errors import ForbiddenError, NotFoundError, UsageError
from farwatch.server.answers import accepted, compress
from farwatch.server.guard import HEADERS, REQUEST_ID, SEGMENTS
from farwatch.server.problems import problem
from farwatch.server.route import Ask, authenticate, session_cookie
from farwatch.server.services import Services

INDEX = "index.html"
_BASE = re.compile(rb"<base\s[^>]*>", re.IGNORECASE)
_HEAD = re.compile(rb"<head[^>]*>", re.IGNORECASE)
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
    ".svg": "image/svg+xml",
    ".json": "application/json",
    ".html": "text/html",
}
_COMPRESSED = ("text/", "application/json", "application/manifest", "image/svg")

NOT_BUILT = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Farwatch</title></head><body>
<h1>Farwatch</h1><p>This server runs, but its dashboard has not been built.</p>
<p>In the source tree: <code>cd web</code>, <code>npm ci</code>, <code>npm run build</code>; then reload this page.
A wheel from PyPI brings it along.</p><p>The API is at <a href="api/v1/openapi.json">api/v1/openapi.json</a>.</p></body></html>
"""


@dataclass(frozen=True, slots=True)
class Asset:
    """One static file, as it is sent."""

    body: bytes
    media_type: str
    immutable: bool


class Pages(BaseRoute):
    """Serves `web/` of this package. A file is found in a list made from the folder, never by joining a path that somebody asked for."""

    def __init__(self, services: Services, folder: Path | None = None) -> None:
        self.services = services
        self.folder = folder or Path(str(files("farwatch.server"))) / "web"
        self._assets: dict[tuple[str, ...], Path] = {}
        self._loaded: dict[Path, tuple[int, Asset]] = {}
        self._list()

    def _list(self) -> None:
        found = self.folder.rglob("*") if self.folder.is_dir() else ()
        self._assets = {
            path.relative_to(self.folder).parts: path
            for path in found
            if path.is_file() and not path.is_symlink()
        }

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.NONE, {}) if scope[SEGMENTS][:1] == ("api",) else (Match.FULL, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with an asset, or with the page."""
        try:
            response = self._answer(scope, receive)
        except Exception as error:
            response = problem(error, scope[REQUEST_ID])
        await response(scope, receive, send)

    def _answer(self, scope: Scope, receive: Receive) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            raise UsageError("pages are only read", status=405)
        segments: tuple[str, ...] = scope[SEGMENTS]
        if segments not in self._assets and segments and "." in segments[-1]:
            self._list()  # built while the server ran
        path = self._assets.get(segments)
        ask = Ask(self.services, scope, receive, {}, scope[HEADERS], None)
        if path is not None and segments != (INDEX,):
            if ask.headers.get("service-worker") is not None and segments != ("sw.js",):
                raise ForbiddenError("the service worker is /sw.js")
            return self._asset(ask, self._load(path))
        if segments and "." in segments[-1] and segments[0] not in ("p", "r") and segments != (INDEX,):
            raise NotFoundError("no such page")
        if ask.headers.get("service-worker") is not None:
            raise ForbiddenError("the service worker is /sw.js")
        return self._index(ask, segments)

    def _index(self, ask: Ask, segments: tuple[str, ...]) -> Response:
        """The page. It holds no data, and people who have proved nothing get it too, so that it can redeem their code; but with 401."""
        path = self.folder / INDEX
        body = self._load(path).body if path.is_file() else NOT_BUILT.encode()
        trailing = ask.scope["raw_path"].endswith(b"/") and bool(segments)
        depth = len(segments) if trailing else len(segments) - 1
        base = b'<base href="%s">' % html.escape("../" * max(depth, 0) or "./").encode()
        if _BASE.search(body):
            body = _BASE.sub(base, body, count=1)
        else:
            body = _HEAD.sub(lambda match: match[0] + base, body, count=1)
        return self._packed(ask, body, "text/html", 200 if self._known(ask) else 401, "no-cache")

    def _known(self, ask: Ask) -> bool:
        access = self.services.access
        cookie = session_cookie(ask.headers.get("cookie", ""), access.port)
        return (cookie is not None and access.by_cookie(cookie) is not None) or authenticate(ask) is not None

    def _asset(self, ask: Ask, asset: Asset) -> Response:
        cache = "public, max-age=31536000, immutable" if asset.immutable else "no-cache"
        return self._packed(ask, asset.body, asset.media_type, 200, cache)

    def _packed(self, ask: Ask, body: bytes, media_type: str, status: int, cache: str) -> Response:
        encoding = (
            accepted(ask.headers.get("accept-encoding", "")) if media_type.startswith(_COMPRESSED) else None
        )
        packed, encoding = compress(body, encoding)
        headers = {"Cache-Control": cache, "Vary": "Accept-Encoding"}
        if encoding is not None:
            headers["Content-Encoding"] = encoding
        return Response(packed, status, headers, media_type)

    def _load(self, path: Path) -> Asset:
        """Read a file, again only if it has changed."""
        changed = path.stat().st_mtime_ns
        known = self._loaded.get(path)
        if known is None or known[0] != changed:
            media_type = (
                _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            )
            immutable = path.relative_to(self.folder).parts[0] == "assets"
            known = self._loaded[path] = (changed, Asset(path.read_bytes(), media_type, immutable))
        return known[1]
