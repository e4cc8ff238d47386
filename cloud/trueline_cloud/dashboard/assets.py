"""The page's files, ready to be sent: read and compressed once, named by their digest.

Promises: nothing is fetched from anywhere; the chart library is the file inside the installed plotly package. Refuses
to know who may see them.
"""

from __future__ import annotations

import gzip
import hashlib
from importlib import resources
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

__all__ = ["ASSET_NAMES", "Asset", "Assets"]

PAGE: Final = "index.html"
LOGIN_PAGE: Final = "login.html"
CHART_LIBRARY: Final = "plotly.js"
ASSET_NAMES: Final = ("app.js", "events.js", "words.js", "style.css", "icon.svg", CHART_LIBRARY)
"""What is served under /assets."""

_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class Asset(NamedTuple):
    """A file as it is sent: plain and gzipped bytes, its media type and its entity tag (RFC 9110, 8.8.3)."""

    body: bytes
    gzipped: bytes
    media_type: str
    tag: str


def _file(name: str) -> Traversable:
    if name == CHART_LIBRARY:
        # The file itself: importing plotly would cost the service 20 MB for nothing.
        return resources.files("plotly").joinpath("package_data", "plotly.min.js")
    return resources.files("trueline_cloud.dashboard").joinpath("static", name)


class Assets:
    """The files, each read when it is first asked for. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._ready: dict[str, Asset] = {}

    def get(self, name: str) -> Asset:
        """A file by its name (one of `ASSET_NAMES`, or a page). The chart library takes some 200 ms the first time."""
        with self._lock:
            asset = self._ready.get(name)
            if asset is None:
                body = _file(name).read_bytes()
                asset = self._ready[name] = Asset(
                    body,
                    gzip.compress(body, 6, mtime=0),
                    _MEDIA_TYPES[name[name.rindex(".") :]],
                    f'"{hashlib.sha256(body).hexdigest()[:20]}"',
                )
        return asset
