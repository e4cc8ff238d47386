"""The door: who may ask, and what a browser may do with the answer.

Promises: with a token, nothing but /healthz and the login form is answered without it, and it is compared in constant
time; without one (loopback only) a page elsewhere cannot reach us under a name of its own (DNS rebinding). Every
answer forbids inline script, foreign origins, framing and sniffing; no CORS header is ever sent. Refuses to know what
is asked.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import RedirectResponse, Response

from trueline_cloud.api.problems import problem_answer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Guard"]

COOKIE: Final = "trueline_session"
_COOKIE_AGE_S: Final = 30 * 86400
_FORM_MAX: Final = 4096
_OPEN_PATHS: Final = ("/healthz",)

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_LOOPBACK_HOST: Final = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)


class Guard:
    """ASGI middleware around the whole application.

    Args:
        app: what is guarded.
        token: what a client must know; None on loopback, where everybody on the machine may look.
        login_page: the form, as HTML with `{message}` in it and one <style>, whose digest is all its policy allows.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, login_page: str) -> None:
        self._app = app
        self._token = token.encode() if token is not None else None
        # The cookie is not the token: who steals it cannot use it as one, and a new token ends all sessions.
        self._session = hmac.new(self._token, b"trueline session 1", hashlib.sha256).hexdigest() if self._token else ""
        self._login_page = login_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in the application's place, or let it answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        answer = await self._answer(scope, receive)
        await (answer or self._app)(scope, receive, send_guarded)

    async def _answer(self, scope: Scope, receive: Receive) -> Response | None:
        # None: the application may answer.
        headers = Headers(scope=scope)
        if self._token is None:
            return _refuse_strange_host(headers.get("host", ""))
        if scope["path"] in _OPEN_PATHS:
            return None
        if scope["path"] == "/login":
            return await self._login(scope, receive)
        handed = parse_qs(scope["query_string"].decode("latin-1")).get("token")
        if handed and scope["method"] == "GET":
            return self._enter(handed[0], scope)
        return None if self._is_known(headers) else _ask_for_token(headers.get("accept", ""))

    def _is_known(self, headers: Headers) -> bool:
        scheme, _, credentials = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and self._fits(credentials.strip()):
            return True
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return morsel is not None and hmac.compare_digest(morsel.value.encode(), self._session.encode())

    def _fits(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._token or b"")

    async def _login(self, scope: Scope, receive: Receive) -> Response:
        if scope["method"] == "POST":
            form = parse_qs((await _body(receive)).decode("latin-1"))
            return self._enter(form.get("token", [""])[0], scope)
        return self._form(200, "")

    def _enter(self, token: str, scope: Scope) -> Response:
        if not self._fits(token.strip()):
            return self._form(401, "That is not the token. It is the content of the service's token_file.")
        answer = RedirectResponse(_after_login(scope["path"]), 303, {"Cache-Control": "no-store"})
        answer.set_cookie(
            COOKIE,
            self._session,
            max_age=_COOKIE_AGE_S,
            httponly=True,
            samesite="lax",
            secure=scope.get("scheme") == "https",
        )
        return answer

    def _form(self, status: int, message: str) -> Response:
        page = self._login_page.replace("{message}", message)
        style = page.partition("<style>")[2].partition("</style>")[0]
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'self'; "
            "frame-ancestors 'none'"
        )
        headers = {"Content-Security-Policy": policy, "Cache-Control": "no-store"}
        return Response(page, status, headers, "text/html; charset=utf-8")


def _refuse_strange_host(host: str) -> Response | None:
    if _LOOPBACK_HOST.fullmatch(host):
        return None
    return problem_answer(
        400,
        f"host: {host[:80]!r} is not this machine's loopback",
        "use http://127.0.0.1 or http://localhost, or give the service a token_file to serve other names",
    )


def _ask_for_token(accepted: str) -> Response:
    if "text/html" in accepted:
        return RedirectResponse("/login", 303, {"Cache-Control": "no-store"})
    return problem_answer(
        401,
        "a token is needed",
        "send it as `Authorization: Bearer <token>`, or open /login in a browser",
        {"WWW-Authenticate": 'Bearer realm="trueline"'},
    )


def _after_login(path: str) -> str:
    # One slash in front, so that it cannot name another host.
    return "/" if path == "/login" else "/" + path.lstrip("/\\")


async def _body(receive: Receive) -> bytes:
    # At most a form's worth; the rest is not read.
    body = b""
    while len(body) < _FORM_MAX:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    return body[:_FORM_MAX]
