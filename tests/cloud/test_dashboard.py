from __future__ import annotations

import asyncio
import gzip
import re
from importlib import resources

import httpx
import pytest
from page_kit import FakeStore, made_app

from trueline_cloud.dashboard.assets import ASSET_NAMES, CHART_LIBRARY, LOGIN_PAGE, PAGE, Assets
from trueline_cloud.live import Live


def ask(path: str, token: str | None = None, **headers: str) -> httpx.Response:
    """One request to the page."""

    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(made_app(FakeStore(), Live(), token=token))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.get(path, headers=headers)

    return asyncio.run(once())


@pytest.mark.parametrize("name", ASSET_NAMES)
def test_every_file_is_served_small_and_known_again(name: str) -> None:
    """Each file of the page is compressed for who can read that, and not sent twice to who has it."""
    answer = ask(f"/assets/{name}", **{"Accept-Encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    plain = ask(f"/assets/{name}", **{"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == answer.content
    again = ask(f"/assets/{name}", **{"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_chart_library_is_the_one_in_the_package() -> None:
    """The chart library is the file inside the plotly package, cached, but not by others behind a token."""
    packaged = resources.files("plotly").joinpath("package_data", "plotly.min.js").read_bytes()
    asset = Assets().get(CHART_LIBRARY)
    assert asset.body == packaged
    assert gzip.decompress(asset.gzipped) == packaged
    assert "max-age" in ask("/assets/plotly.js").headers["cache-control"]
    authorized = ask("/assets/plotly.js", "secret", Authorization="Bearer secret")
    assert authorized.headers["cache-control"].startswith("private")


def test_nothing_but_the_files_is_served() -> None:
    """No path leads to another file."""
    for path in ("/assets/login.html", "/assets/..%2fassets.py", "/assets/%2e%2e/assets.py", "/assets/"):
        assert ask(path).status_code == 404


@pytest.mark.parametrize("name", [PAGE, LOGIN_PAGE, "app.js", "events.js", "words.js", "style.css", "icon.svg"])
def test_our_files_name_no_other_place(name: str) -> None:
    """Nothing we wrote loads anything from another origin, and no script is written into a page."""
    text = Assets().get(name).body.decode()
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)\S+", text) == []
    assert re.findall(r"(?:src|href)=[\"']//", text) == []
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"\son\w+=\"", text)
