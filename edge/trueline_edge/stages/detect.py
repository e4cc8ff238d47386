"""Detect: how strange each row is, by a model that was trained elsewhere and tried here.

Promises: channels come in untouched, and behind them stand new ones: `NAME.score` (0 and up, larger is stranger),
`NAME.p` (how often a row of normal running scores so high), `NAME.alarm` (1 while it is on), `NAME.model` (version of
what looked at the row), and with `details` `NAME.share.INPUT` (the part of the score that came from each input). Scores
do not depend on where batches are cut. An event (the alarm goes on) is told at once, on a stream of its own,
"STREAM.NAME", with the rows before it (`trueline_model.event`).
Refuses to look into cells that say nothing, and to make any up: FAIL, MISSING and NaN are masked.

What each flag means here: SUSPECT inputs count like others. A new channel is MISSING where nothing can be said: the
model warms up, too little of its window was measured, it was not calibrated, or none serves; else PASS, and SUSPECT
(MULTI_VARIATE) while the alarm is on. A row whose time does not go forward is not looked at; after a gap the model
starts anew.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

from trueline_edge.stages.modelled import ModelSettings, is_other_pace, misfits
from trueline_edge.stages.stage import Objection
from trueline_wire.errors import ConfigError, NeverRetry
from trueline_wire.readings import Channel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trueline_edge.stages.detecting import Detecting
    from trueline_model.package import Package
    from trueline_wire.readings import Schema

__all__ = ["AlarmRate", "Detect"]

_EVENT_ROWS_MAX: Final = 10_000
_MEMORY_MIN, _MEMORY_MAX = 100, 100_000  # the first as in `trueline_model.recalibration`, which is not imported here


class AlarmRate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many false alarms may come.

    Attributes:
        events: so many,
        per_s: in this many seconds (604,800 for a week).
    """

    events: float = 1.0
    per_s: float = 604_800.0

    def __post_init__(self) -> None:
        if not 0.0 < self.events < math.inf or not 0.0 < self.per_s < math.inf:
            raise ValueError(f"events {self.events} and per_s {self.per_s} must be above 0")


class Detect(ModelSettings, frozen=True, kw_only=True, tag="detect"):
    """A model looks at some channels of the stream.

    Attributes:
        name: of the new channels: "NAME.score", "NAME.p", "NAME.alarm", "NAME.model".
        model: a folder that `trueline-edge model install` keeps, or one package (.tlm).
        public_key: of the one who must have signed it: base64, as `trueline-cloud key` prints it.
        channels: what the model reads, in the order of its inputs; the channels called like its inputs where left out.
        alarm: the table `[stream.stage.alarm]`: false alarms that may come; those it was trained for where left out.
        gap_max_s: after a longer gap the model starts anew; ten of its intervals where left out.
        details: add "NAME.share.INPUT" for each input; `channels` says which.
        memory_rows: count p-values among the last so many scores, 100 at least, in place of those of the calibration:
            they follow drift. What lasts for a share of them becomes normal.
        event_rows: rows an event is told with: so many up to the one it begins with, and as many behind it, or more
            where its verdict makes use of more. 0 tells none.
    """

    alarm: AlarmRate | None = None
    gap_max_s: float | None = None
    details: bool = False
    memory_rows: int | None = None
    event_rows: int = 60

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gap_max_s is not None and not 0.0 < self.gap_max_s < math.inf:
            raise ValueError(f"gap_max_s {self.gap_max_s} must be above 0")
        if self.memory_rows is not None and not _MEMORY_MIN <= self.memory_rows <= _MEMORY_MAX:
            raise ValueError(f"memory_rows {self.memory_rows} must be between {_MEMORY_MIN} and {_MEMORY_MAX}")
        if not 0 <= self.event_rows <= _EVENT_ROWS_MAX:
            raise ValueError(f"event_rows {self.event_rows} must be between 0 and {_EVENT_ROWS_MAX}")
        if self.details and self.channels is None:
            raise ValueError("details name the inputs: write them down as channels")

    @property
    def rate_hz(self) -> float | None:
        """False alarms a second; None: as trained."""
        return None if self.alarm is None else self.alarm.events / self.alarm.per_s

    def added(self) -> list[Channel]:
        """The new channels; they do not depend on which model serves."""
        shares = [f"share.{name}" for name in self.channels or ()] if self.details else []
        return [Channel(name=f"{self.name}.{what}") for what in ("score", "p", "alarm", "model", *shares)]

    def objections(self, schema: Schema) -> Iterator[Objection]:
        """No model, one that reads other channels or units, a rate it cannot support, names that are taken."""
        from trueline_edge.inference.serving import serve  # noqa: PLC0415 - paid for where it is used

        unknown = list(super().objections(schema))
        yield from unknown
        yield from self.taken(schema)
        package, missing = self.package()
        yield from missing
        if package is None:
            return
        wrong = list(misfits(package, self.channels, schema))
        yield from wrong
        if self.event_rows and not unknown and not wrong:
            try:
                self.events_of(package, schema)
            except ValueError as error:
                yield Objection(("name",), f"events of {schema.stream!r} cannot be told: {error}", "take another name")
        try:
            serve(package, rate_hz=self.rate_hz, gap_s=self.gap_max_s)
        except ConfigError as error:
            yield Objection(("alarm",) if self.alarm else ("model",), str(error))
        except NeverRetry as error:
            yield Objection(("model",), str(error))

    def misfits_in_time(self, interval_s: float) -> Iterator[Objection]:
        """Why a model that remembers rows is not for rows that come at this interval.

        Args:
            interval_s: nominal time from row to row.
        """
        from trueline_edge.inference.serving import open_model, serve  # noqa: PLC0415 - paid for where it is used

        try:
            package = open_model(self.model, self.public_key).package
            judge = serve(package, gap_s=self.gap_max_s)
        except (ConfigError, NeverRetry):  # said by `objections`
            return
        trained_s, rows = package.manifest.interval_s, judge.detector.warm_up
        if rows and interval_s > judge.gap_s:
            yield Objection(
                ("gap_max_s",) if self.gap_max_s else ("model",),
                f"rows come each {interval_s:g} s, and after {judge.gap_s:g} s without one the model, which wants "
                f"{rows + 1} of them, starts anew: it would never say anything",
            )
        elif rows and is_other_pace(interval_s, trained_s):
            yield Objection(
                ("model",),
                f"rows come each {interval_s:g} s, and the model's {rows + 1} rows were {trained_s:g} s apart",
                "train on this stream, or bring it to that interval with the source 'join'",
            )

    def reads(self, package: Package) -> tuple[str, ...]:
        """The channels it reads, in the order of the package's inputs."""
        return self.channels or tuple(one.name for one in package.manifest.inputs)

    def events_of(self, package: Package, schema: Schema) -> Schema:
        """Of the events it tells of a stream.

        Raises:
            ValueError: a name is taken.
        """
        from trueline_model.event import event_schema  # noqa: PLC0415 - paid for where it is used

        channels = {channel.name: channel for channel in schema.channels}
        inputs = tuple(channels[name] for name in self.reads(package))
        return event_schema(replace(schema, channels=inputs, thinning=None), self.name)

    def stage(self, schema: Schema) -> Detecting:
        """The stage for readings of this schema. Where no model serves, it says so and its channels are MISSING."""
        from trueline_edge.stages.detecting import Detecting  # noqa: PLC0415 - paid for where it is used

        return Detecting(self, schema)
