"""What every scenario stands on: blocks of fixed length, slow states on a grid of their own, and when an anomaly acts.

Promises: `advance` gives the same arrays however time is cut, because the work is always done in the same blocks and
only handed out in pieces. Physics runs at its own step, whole multiples away from the sampling interval; between its
nodes the truth is straight lines. An anomaly changes nothing before its start: it acts from the first node after it.
Refuses to know any physics.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from trueline_sim.truth.draws import Draws
    from trueline_sim.truth.scenario import ProcessAnomaly

    Array = NDArray[np.float64]

__all__ = ["Blocks", "Episodes", "Grid", "Run"]

BLOCK_CELLS = 1 << 15
"""Steps times devices in one block: an array of it fits a processor's second cache."""
BLOCK_NODES = 256
NS_PER_S = 1_000_000_000


class Grid:
    """How the nodes of the physics lie between the samples.

    Attributes:
        samples: samples from one node to the next (1 if physics is finer than sampling).
        nodes: nodes from one sample to the next (1 if physics is coarser than sampling).
        step_s: seconds between nodes, at most about what was asked for.
    """

    def __init__(self, interval_s: float, step_s: float) -> None:
        if not interval_s > 0:
            raise ValueError(f"interval_s is {interval_s}: it must be positive")
        self.samples = max(1, math.floor(step_s / interval_s + 1e-9))
        self.nodes = max(1, math.ceil(interval_s / step_s - 1e-9))
        self.step_s = interval_s * self.samples / self.nodes


class Episodes:
    """The process anomalies of one run, as arrays over (times, devices)."""

    def __init__(self, anomalies: Sequence[ProcessAnomaly], kinds: Sequence[str], devices: int) -> None:
        for each in anomalies:
            if each.kind not in kinds or not 0 <= each.device < devices:
                raise ValueError(f"no {each.kind!r} at device {each.device}: {devices} devices know {', '.join(kinds)}")
        self._of = {kind: [each for each in anomalies if each.kind == kind] for kind in kinds}
        self._devices = devices

    def level(self, kind: str, time_ns: NDArray[np.int64], bounds: tuple[float, float] = (0.0, 1.0)) -> Array:
        """Between the bounds, by magnitude, while it lasts; 0 else. (times, devices), or (1, 1) where always 0."""
        return self._fill(kind, time_ns, bounds, grows=False)

    def growth(self, kind: str, time_ns: NDArray[np.int64], bounds: tuple[float, float] = (0.0, 1.0)) -> Array:
        """As `level`, times the share of the anomaly's duration that has passed: wear, not breakage."""
        return self._fill(kind, time_ns, bounds, grows=True)

    def _fill(self, kind: str, time_ns: NDArray[np.int64], bounds: tuple[float, float], *, grows: bool) -> Array:
        first, last = int(time_ns[0]), int(time_ns[-1])
        acting = [each for each in self._of[kind] if each.start_ns <= last and each.end_ns > first]
        if not acting:
            return np.zeros((1, 1))
        out = np.zeros((len(time_ns), self._devices))
        for each in acting:
            during = (time_ns >= each.start_ns) & (time_ns < each.end_ns)
            height = bounds[0] + each.magnitude * (bounds[1] - bounds[0])
            share = (time_ns - each.start_ns) / (each.end_ns - each.start_ns) if grows else 1.0
            out[:, each.device] += np.where(during, height * share, 0.0)
        return out


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a process is made for.

    Attributes:
        start_ns: of step 0, UTC, ns since 1970.
        interval_s: between samples.
        grid: where the nodes of the slow states lie.
        parameters: of each device, (devices,) each; the process may add its own.
        draws: what is drawn at the nodes.
        episodes: what goes wrong.
    """

    start_ns: int
    interval_s: float
    grid: Grid
    parameters: dict[str, Array]
    draws: Draws
    episodes: Episodes


class Blocks(ABC):
    """A process that works in blocks: slow states at nodes, then what is measured at samples."""

    def __init__(self, run: Run) -> None:
        self.devices = run.draws.devices
        self.start_ns = run.start_ns
        self.interval_s = run.interval_s
        self.episodes = run.episodes
        self.grid = run.grid
        self.p = run.parameters
        self._node = 0
        self._step = 0
        self._blocks: Iterator[Array] | None = None
        self._rest: Array | None = None

    def advance(self, steps: int) -> Array:
        """The truth at the next steps, (steps, devices, measurands): the arrays do not depend on how time is cut."""
        if self._blocks is None:
            self._blocks = self._blocks_forever()
        if self._rest is None:
            self._rest = next(self._blocks)
        parts = [self._rest[:steps]]
        self._rest = self._rest[steps:]
        steps -= len(parts[0])
        while steps > 0:
            block = next(self._blocks)
            parts.append(block[:steps])
            self._rest = block[steps:]
            steps -= len(parts[-1])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    @abstractmethod
    def nodes(self, seconds: Array, acting_ns: NDArray[np.int64]) -> Array:
        """Slow states at the next nodes.

        Args:
            seconds: (n,) of the nodes, since the start.
            acting_ns: (n,) time at which an anomaly must have begun to be felt at the node: the node before it.

        Returns:
            (states, n, devices).
        """

    def samples(self, slow: Array, seconds: Array, time_ns: NDArray[np.int64]) -> Array:
        """What is measured, from slow states at the sample times: (states, n, devices) to (measurands, n, devices)."""
        del seconds, time_ns
        return slow

    def _next_nodes(self, count: int) -> Array:
        """`count` samples' worth of nodes: the last node of each."""
        index = self._node + np.arange(count, dtype=np.float64)
        self._node += count
        before_ns = self.start_ns + np.rint((index - 1) * (self.grid.step_s * NS_PER_S)).astype(np.int64)
        return self.nodes(index * self.grid.step_s, before_ns)

    def _blocks_forever(self) -> Iterator[Array]:
        """Blocks of truth, (steps, devices, measurands) each, measurands far apart in memory."""
        per, every = self.grid.samples, self.grid.nodes
        count = max(1, min(BLOCK_NODES // every, BLOCK_CELLS // (self.devices * per)))
        piece = max(1, min(per, BLOCK_CELLS // self.devices))
        last = self._next_nodes(1)
        while True:
            new = self._next_nodes(count * every)[:, every - 1 :: every]
            left = np.concatenate((last, new[:, :-1]), axis=1)
            for first in range(0, per, piece):
                slow = _between(left, new, np.arange(first, min(first + piece, per)) / per)
                index = self._step + np.arange(slow.shape[1], dtype=np.float64)
                self._step += len(index)
                time_ns = self.start_ns + np.rint(index * (self.interval_s * NS_PER_S)).astype(np.int64)
                yield np.moveaxis(self.samples(slow, index * self.interval_s, time_ns), 0, -1)
            last = new[:, -1:]


def _between(left: Array, right: Array, share: Array) -> Array:
    """Straight lines: (states, n, devices) at both ends and (p,) shares of the way -> (states, n * p, devices)."""
    if len(share) == 1 and share[0] == 0:
        return left
    way = share[:, np.newaxis]
    out = left[:, :, np.newaxis] + way * (right - left)[:, :, np.newaxis]
    return out.reshape(left.shape[0], -1, left.shape[2])
