"""A second place: a trolley in a hall with eight anchors and motion capture (CUHK-Shenzhen), as a `Drive`.

<https://github.com/LIAS-CUHKSZ/Efficient-Pose-Estimation-via-UWB-measurements> (MIT); its authors have cleaned the
ranges of outliers and aligned them with the motion capture, row by row, 100 a second. One of the trolley's three tags
is taken, ten times a second. No track is published: ours is compared with least squares of each row by itself.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from measurements import Drive, Track

if TYPE_CHECKING:
    from fit import Ranging
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["FOLDER", "read_hall", "row_by_row"]

FOLDER = Path("uwb_cuhksz", "Dynamic_Experiment", "3_Alignment")
ANCHORS_M = (
    (-3.4203, 3.0053, 1.0442),
    (0.0016, 3.0110, 1.0446),
    (3.6056, 2.9795, 1.0463),
    (3.6011, -0.0008, 1.0422),
    (3.5674, -3.0087, 1.0443),
    (-0.0072, -2.9652, 1.0444),
    (-3.4673, -2.9587, 1.0445),
    (-3.4858, -0.0098, 1.0457),
)
TAG_M = (-0.0689, -0.1423)
"""Tag 0, in the trolley's frame."""
EVERY = 10
STEPS = 20
_CELL = re.compile(rb'<c r="([A-Z]+)(\d+)"[^>]*><v>([^<]*)</v>')


def _table(path: Path) -> Array:
    """Numbers of the first sheet of a workbook; NaN where a cell holds none."""
    with zipfile.ZipFile(path) as book:
        cells = _CELL.findall(book.read("xl/worksheets/sheet1.xml"))
    column = {name: k for k, name in enumerate(sorted({cell[0] for cell in cells}, key=lambda name: (len(name), name)))}
    table = np.full((max(int(row) for _, row, _ in cells), len(column)), np.nan)
    for name, row, text in cells:
        table[int(row) - 1, column[name]] = float(text)
    return table


def read_hall(folder: Path) -> Drive:
    """The drive; the truth is that of the tag, not of the trolley's middle."""
    ranges = _table(folder / "UWB_dynamic_exp_mid.xlsx")[::EVERY]
    moved = _table(folder / "motion_capture_dynamic_exp_mid.xlsx")[::EVERY]
    time_s = (ranges[:, 0] - ranges[0, 0]) * 86_400.0
    cos, sin = np.cos(np.radians(moved[:, 3])), np.sin(np.radians(moved[:, 3]))
    x, y = TAG_M
    tag = moved[:, 1:3] + np.stack([cos * x - sin * y, sin * x + cos * y], axis=1)
    return Drive(0, time_s, ranges[:, 1:9], np.array(ANCHORS_M), Track(time_s, tag), {})


def row_by_row(drive: Drive, ranging: Ranging) -> Track:
    """Least squares of each row by itself (Gauss-Newton from the middle), after offsets, gain and height."""
    distance = (drive.range_m - ranging.offsets_m) / ranging.gain
    up_2 = (ranging.tag_height_m - drive.anchors_m[:, 2]) ** 2
    place = np.zeros((len(distance), 2))
    for _ in range(STEPS):
        away = place[:, None, :] - drive.anchors_m[None, :, :2]
        seen = np.sqrt((away**2).sum(axis=2) + up_2)
        slope = away / seen[:, :, None]
        normal = np.einsum("nai,naj->nij", slope, slope)
        place += np.linalg.solve(normal, np.einsum("nai,na->ni", slope, distance - seen)[:, :, None])[:, :, 0]
    return Track(drive.time_s - ranging.clock_s, place)
