from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from page_kit import PUMP, FakeStore, made_app, sampled

from trueline_cloud.live import Live

TOKEN = "correct horse battery staple"  # noqa: S105 - of this test
PROTECTED = ("/", "/assets/app.js", "/metrics", "/openapi.json", "/api/v1/devices", "/api/v1/ledger", "/nowhere")


def ask(path: str, *, token: str | None = TOKEN, method: str = "GET", **request: Any) -> httpx.Response:
    """One request to a fresh application, from a client that follows no redirect."""
    store = FakeStore()
    store.put(sampled(PUMP, 0, 5))

    async def once() -> httpx.Response:
        app = made_app(store, Live(), token=token)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as client,
        ):
            return await client.request(method, path, **request)

    return asyncio.run(once())


def session() -> dict[str, str]:
    """The cookie of somebody who has logged in."""
    answer = ask("/login", method="POST", data={"token": TOKEN})
    return {"Cookie": answer.headers["set-cookie"].partition(";")[0]}


@pytest.mark.parametrize("path", PROTECTED)
def test_nothing_is_answered_without_the_token(path: str) -> None:
    """With a token set, every path but /healthz and the form refuses who does not know it, and says nothing else."""
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}, {"Cookie": "trueline_session=x"}):
        answer = ask(path, headers=headers)
        assert answer.status_code == 401
        assert set(answer.json()) == {"error", "hint"}
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", [path for path in PROTECTED if path != "/nowhere"])
def test_the_token_opens_every_path(path: str) -> None:
    """Negative control: with the token, as a header or as the cookie of a login, the same paths answer."""
    assert ask(path, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert ask(path, headers=session()).status_code == 200


def test_health_needs_no_token() -> None:
    """A supervisor may ask for health without knowing the token."""
    assert ask("/healthz").status_code == 200


def test_a_browser_is_led_to_the_form() -> None:
    """Who asks for a page gets the form, which loads nothing and runs nothing."""
    answer = ask("/", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    form = ask("/login")
    assert form.status_code == 200
    assert "script-src" not in form.headers["content-security-policy"]
    assert "default-src 'none'" in form.headers["content-security-policy"]
    assert "<script" not in form.text


def test_a_login_sets_a_cookie_that_is_not_the_token() -> None:
    """The right token gives a cookie scripts cannot read and other sites cannot send; the cookie is not the token."""
    answer = ask("/login", method="POST", data={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    value = cookie.partition("=")[2].partition(";")[0]
    assert "correct" not in value
    assert ask("/metrics", headers={"Authorization": f"Bearer {value}"}).status_code == 401


def test_a_wrong_login_is_refused() -> None:
    """A wrong token gives the form again and no cookie, however long the body."""
    for body in ({"token": "wrong"}, {}, {"token": "x" * 100_000}):
        answer = ask("/login", method="POST", data=body)
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers


def test_a_token_in_the_address_is_used_once() -> None:
    """`?token=` logs in and leads to the same path without it, so it stays in no history; a wrong one is refused."""
    answer = ask("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert "set-cookie" in answer.headers
    assert ask("/", params={"token": "wrong"}).status_code == 401
    assert (
        ask("http://127.0.0.1//elsewhere.example/", params={"token": TOKEN})
        .headers["location"]
        .startswith("/elsewhere")
    )


def test_a_new_token_ends_old_sessions() -> None:
    """A cookie given out under another token opens nothing."""
    assert ask("/metrics", headers=session(), token="another").status_code == 401  # noqa: S106 - of this test


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8080", "localhost:8080", "LOCALHOST", "[::1]:8080"])
def test_loopback_names_are_served_without_a_token(host: str) -> None:
    """Without a token, this machine's own names are served."""
    assert ask("/api/v1/devices", token=None, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8080", "10.0.0.5", ""]
)
def test_a_foreign_name_is_refused_without_a_token(host: str) -> None:
    """Without a token, a page that made its own name point at us (DNS rebinding) gets nothing, not even health."""
    for path in ("/", "/healthz", "/api/v1/devices"):
        answer = ask(path, token=None, headers={"Host": host})
        assert answer.status_code == 400
        assert set(answer.json()) == {"error", "hint"}


@pytest.mark.parametrize("path", ["/", "/assets/app.js", "/api/v1/devices", "/nowhere", "/login"])
def test_every_answer_forbids_what_we_do_not_do(path: str) -> None:
    """Inline script, foreign origins, frames and sniffing are forbidden on every answer; CORS lets nobody in."""
    answer = ask(path, headers={"Authorization": f"Bearer {TOKEN}", "Origin": "https://evil.example"})
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert not [name for name in answer.headers if name.startswith("access-control-")]
