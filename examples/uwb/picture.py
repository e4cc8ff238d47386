"""A track beside the truth, with its intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

if TYPE_CHECKING:
    from pathlib import Path

    from fit import Estimated
    from measurements import Drive

__all__ = ["draw"]


def draw(path: Path, drive: Drive, seen: Estimated, split_s: float) -> None:
    """Truth, ours with its 95 % intervals, and the better of the authors' tracks; the scored half."""
    stop_s = drive.time_s[-1]
    figure = Figure(figsize=(8, 7.2), layout="constrained")
    plane, across = figure.subplots(2, 1, height_ratios=(3, 2))
    ours, truth, ls = (t.part(split_s, stop_s) for t in (seen.track, drive.truth, drive.authors["LS"]))
    u = seen.u_m[(seen.track.time_s >= split_s) & (seen.track.time_s < stop_s)]
    for k in range(0, len(u), 12):
        plane.add_patch(Ellipse(ours.xy_m[k], *(2 * 1.96 * u[k]), color="tab:blue", alpha=0.12, lw=0))
    plane.plot(*ls.xy_m.T, ".", ms=1.5, color="tab:orange", label="authors' least squares")
    plane.plot(*truth.xy_m.T, color="black", lw=2, label="satellites (RTK)")
    plane.plot(*ours.xy_m.T, color="tab:blue", lw=1.2, label="Trueline, with 95 % intervals")
    plane.plot(*drive.anchors_m[:, :2].T, "^", color="tab:red", label="anchors")
    plane.set(xlabel="x [m]", ylabel="y [m]", aspect="equal", title="The second half of the drive")
    plane.legend(loc="upper left", fontsize=8, markerscale=1.5)
    error = ours.xy_m[:, 1] - drive.truth.at(ours.time_s)[:, 1]
    band = 1.96 * u[:, 1]
    across.fill_between(ours.time_s, -band, band, color="tab:blue", alpha=0.15, lw=0, label="95 % interval")
    across.plot(ls.time_s, ls.xy_m[:, 1] - drive.truth.at(ls.time_s)[:, 1], ".", ms=1.5, color="tab:orange")
    across.plot(ours.time_s, error, color="tab:blue", lw=1.2)
    across.axhline(0.0, color="black", lw=0.8)
    across.set(xlabel="time [s]", ylabel="error in y [m]", ylim=(-2.5, 2.5), xlim=(split_s, stop_s))
    across.legend(loc="upper right", fontsize=8)
    figure.savefig(path, dpi=66)
