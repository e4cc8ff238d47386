"""Where was the tag? UWB ranges of a real drive through a model of one's own, beside the satellite truth.

    python examples/uwb/run.py --data DIR              DIR holds uwb_hanyang/ (see README.md)
    python examples/uwb/run.py --data DIR --folder here    keep configuration, ranges and what came out
    python examples/uwb/run.py --data DIR --plot track.png

The first half of the drive tells the model's parameters, the second half is scored: ours and the two tracks that the
data set's authors published with it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

from fit import fit_model
from measurements import CASE, read_drive
from picture import draw
from track import follow, replay, score


def main() -> None:
    """Fit, run, score, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds uwb_hanyang/")
    parser.add_argument("--folder", type=Path, help="keep what is written")
    parser.add_argument("--plot", type=Path, help="a .png to draw")
    arguments = parser.parse_args()
    drive = read_drive(arguments.data / CASE)
    stop_s = drive.time_s[-1]
    split_s = 0.5 * stop_s
    parameters, clock_s, _ = fit_model(drive, split_s, partial(follow, drive))
    print(f"read off the first half: {json.dumps(parameters)}")
    print(f"the ranges' clock is {clock_s:.3f} s behind the satellites'")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        seen = replay(drive, parameters, clock_s, folder)
    ours = score(drive, seen, split_s, stop_s)
    print(f"second half, {ours.rows} rows: RMSE {ours.rmse_m:.3f} m; 95 % intervals hold {ours.coverage:.1%}")
    for name, track in drive.authors.items():
        print(f"authors' {name}: RMSE {score(drive, track, split_s, stop_s).rmse_m:.3f} m")
    if arguments.plot:
        draw(arguments.plot, drive, seen, split_s)


if __name__ == "__main__":
    main()
