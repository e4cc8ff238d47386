"""Drawings of the report and of `plot`: matplotlib without a window, loaded when the first is drawn.

Promises: figures come out as SVG or PNG bytes, the same for the same input. Refuses to know where figures come from.
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["BLUE", "GREY", "ORANGE", "RED", "as_svg", "date_format", "dates", "figure"]

BLUE: Final = "#1f5fa8"
ORANGE: Final = "#c8641e"
RED: Final = "#b3261e"
GREY: Final = "#777777"
_STYLE: Final[dict[str, Any]] = {
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.hashsalt": "trueline",
    "figure.facecolor": "white",
}


def figure(
    rows: int = 1, columns: int = 1, *, width: float = 7.0, height: float = 2.6, **options: Any
) -> tuple[Any, Any]:
    """A figure and its axes, (rows, columns).

    Raises:
        ConfigError: matplotlib is not installed.
    """
    try:
        import matplotlib as mpl  # noqa: PLC0415 - slow, and only drawings need it
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - as above
        from matplotlib.figure import Figure  # noqa: PLC0415 - as above
    except ImportError as error:
        raise ConfigError('drawings need matplotlib: pip install "trueline[sim]"') from error
    settings: Any = mpl.rcParams
    settings.update(_STYLE)
    drawn = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(drawn)
    return drawn, drawn.subplots(rows, columns, squeeze=False, **options)


def as_svg(drawn: Any) -> str:
    """An <svg> element, to stand in a page."""
    file = io.StringIO()
    drawn.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]


def dates(time_ns: NDArray[np.int64]) -> list[datetime]:
    """Times for an axis, UTC."""
    return [datetime.fromtimestamp(float(moment) / 1e9, UTC) for moment in time_ns]


def date_format(axis: Any) -> Any:
    """Dates as short as they can be, the day where it changes."""
    from matplotlib import dates as mdates  # noqa: PLC0415 - slow, and only drawings need it

    formatter: Any = mdates.ConciseDateFormatter
    return formatter(axis.xaxis.get_major_locator(), tz=UTC)
