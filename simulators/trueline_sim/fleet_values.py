"""What a fleet's devices measure in a world: raw readings as the devices report and stamp them, in frames.

Promises: a frame holds what `Block.rows` gives for its steps: faults included, rows that are absent absent, doubled
rows doubled, in the order of the report. Nothing is evaluated (flag 2), as no stage ran; `u` is the datasheet's.
Refuses to know links and senders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from trueline_sim.device import Frame
from trueline_sim.world import FAULTS_PER_10000_ROWS, World
from trueline_wire.columns import encode_columns
from trueline_wire.readings import Channel, Readings, Schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trueline_sim.block import Block
    from trueline_sim.truth.scenario import Scenario

__all__ = ["WorldValues"]

_BLOCKS_KEPT: Final = 2
"""Devices ask in turn: nobody wants frame n - 1 any more once somebody has asked for n + 1."""


class WorldValues:
    """The readings of a group of devices in one scenario, in real time.

    Args:
        scenario: where they are.
        devices: how many different ones. Device n shows what device n modulo so many measures.
        rows: steps of the world in a frame.
        interval_s: between rows.
        frames: of each device, at most.
        seed: of the world.
        faults: for each 10,000 rows of a device; 0: none.
        anomalies: whether something may be wrong with the process too.

    Attributes:
        stream: the scenario's name.
        channels: one for each sensor.
    """

    def __init__(
        self,
        scenario: Scenario,
        *,
        devices: int,
        rows: int,
        interval_s: float,
        frames: int,
        seed: int,
        faults: float = FAULTS_PER_10000_ROWS,
        anomalies: bool = True,
    ) -> None:
        self.stream: Final = scenario.name
        self._scenario: Final = scenario
        self._devices: Final = devices
        self._rows: Final = rows
        self._interval_s: Final = interval_s
        self._frames_in_block: Final = 1 if rows % 2 == 0 else 2  # blocks are of an even number of steps
        self._steps: Final = (frames + frames % self._frames_in_block) * rows
        self._seed: Final = seed
        self._faults: Final = faults
        self._anomalies: Final = anomalies
        self._world = self._made(0)
        self.channels: Final = tuple(
            Channel(name=channel.name, unit=channel.unit, resolution=channel.resolution, sensor=channel.sensor)
            for channel in self._world.channels
        )
        self._schema: Final = Schema(device="any", stream=self.stream, channels=self.channels)
        self._start_ns = 0
        self._blocks: Iterator[Block] = iter(())
        self._kept: dict[int, Block] = {}
        self._made_frames: dict[tuple[int, int], Frame | None] = {}
        self._next = 0

    def begin(self, start_ns: int) -> None:
        """The first row of the first frame is at this time, UTC, ns since 1970."""
        self._start_ns = start_ns
        self._world = self._made(start_ns)
        self._blocks, self._next = iter(self._world), 0
        self._kept, self._made_frames = {}, {}

    @property
    def world(self) -> World:
        """Whose readings these are, with its labels."""
        return self._world

    def _made(self, start_ns: int) -> World:
        return World(
            self._scenario,
            devices=self._devices,
            seed=self._seed,
            steps=self._steps,
            start_ns=start_ns,
            interval_s=self._interval_s,
            faults=self._faults,
            anomalies=self._anomalies,
            block_steps=self._rows * self._frames_in_block,
        )

    def maybe_frame(self, device: int, time_ns: int, step_ns: int) -> Frame | None:
        """The rows a device reports in the interval that begins at `time_ns`; None where all of them are absent."""
        number = round((time_ns - self._start_ns) / (step_ns * self._rows))
        key = (device % self._devices, number)
        if key not in self._made_frames:
            self._made_frames[key] = self._maybe_encoded(*key)
        return self._made_frames[key]

    def _maybe_encoded(self, device: int, number: int) -> Frame | None:
        block_number, part = divmod(number, self._frames_in_block)
        block = self._block(block_number)
        rows = block.rows(device)
        mine = (rows.step - block.first_step) // self._rows == part
        time_ns = rows.time_ns[mine]
        if not len(time_ns):
            return None
        u = block.u_declared.astype(np.float32)
        readings = Readings.raw(self._schema, time_ns, rows.value[mine], u)
        return Frame(len(time_ns), int(time_ns.min()), int(time_ns.max()), encode_columns(readings))

    def _block(self, number: int) -> Block:
        while self._next <= number:
            self._kept[self._next] = next(self._blocks)
            self._next += 1
            self._kept.pop(self._next - 1 - _BLOCKS_KEPT, None)
            oldest = (self._next - _BLOCKS_KEPT) * self._frames_in_block
            self._made_frames = {key: frame for key, frame in self._made_frames.items() if key[1] >= oldest}
        return self._kept[number]
