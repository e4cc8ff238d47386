"""Parts of a report: one HTML file with its pictures inside, nothing fetched, nothing run."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any, Final

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LINE", "MARK", "OTHER", "figure_of", "picture", "table", "whole"]

LINE, OTHER, MARK = "#4477aa", "#cc6677", "#222222"
"""Colours that keep apart in grey and for the colour-blind (P. Tol)."""

_STYLE: Final = """
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}table{border-collapse:collapse;margin:.5rem 0}
th,td{text-align:left;padding:.2rem .9rem .2rem 0;border-bottom:1px solid #ddd;vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums}figure{margin:1rem 0}img{max-width:100%;height:auto}
figcaption{color:#555}.bad{color:#a3263a;font-weight:600}
"""


def whole(title: str, body: str) -> str:
    """The page."""
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(title)}</title>"
    view = '<meta name=viewport content="width=device-width">'
    return f"{head}{view}<style>{_STYLE}</style><h1>{html.escape(title)}</h1>{body}</html>\n"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows under a head."""

    def cell(content: object) -> str:
        if isinstance(content, float):
            return f"<td class=n>{content:.4g}</td>"
        return f"<td{' class=n' if isinstance(content, int) else ''}>{html.escape(str(content))}</td>"

    top = "".join(f"<th>{html.escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def figure_of(count: int = 1) -> tuple[Figure, Any]:
    """A figure, and its axes side by side."""
    figure = Figure(figsize=(9.5, 2.6 if count > 1 else 3.4), layout="constrained")
    return figure, figure.subplots(1, count)


def picture(figure: Figure, caption: str) -> str:
    """A figure as a part of the page."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80)
    encoded = base64.b64encode(file.getvalue()).decode()
    text = html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{encoded}"><figcaption>{text}</figcaption></figure>'
