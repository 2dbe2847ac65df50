"""The page's files at / and /static, with security headers."""

from __future__ import annotations

from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.refusals import NotFound

FOLDER = Path(__file__).parent / "page"
STATIC = "/static"
POLICY = "; ".join(
    (
        "default-src 'self'",
        "media-src 'self' blob: data:",
        "img-src 'self' blob: data:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",  # the browser revalidates each time and gets 304
}


class SecurityHeaders:
    """ASGI middleware that adds HEADERS to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, send_guarded)


def page_routes(folder: Path = FOLDER) -> list[BaseRoute]:
    async def index(request: Request) -> Response:
        """Raises: NotFound, where the folder has no page."""
        if not (folder / "index.html").is_file():
            raise NotFound("this worker has no page")
        return FileResponse(folder / "index.html", headers=HEADERS)

    files = StaticFiles(directory=folder, check_dir=False)
    return [Route("/", index, methods=["GET", "HEAD"]), Mount(STATIC, SecurityHeaders(files))]
