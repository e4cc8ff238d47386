"""Predict: what will be, or what is left, by a model that was trained elsewhere and tried here.

Promises: channels come in untouched, and behind them stand new ones: `NAME` (what is to be expected, with its standard
uncertainty `u`), `NAME.low` and `NAME.high` (the interval that holds the truth as often as `coverage` says), and
`NAME.model` (the version that said so). Predictions do not depend on where batches are cut. Refuses to look into cells
that say nothing, and to make any up: FAIL, MISSING and NaN are masked.

What each flag means here: SUSPECT inputs count like others. A new channel is MISSING where nothing can be said: the
model warms up, too little of its window was measured, or none serves; else PASS, and SUSPECT (CLIMATOLOGY) where an
input of the row lies outside what the model was trained on: it has not learnt what is there. A row whose time does not
go forward is not looked at. Between two steps of the model, an hour say, the last prediction stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trueline_edge.stages.modelled import ModelSettings, is_other_pace, misfits
from trueline_edge.stages.stage import Objection
from trueline_wire.errors import ConfigError, NeverRetry
from trueline_wire.readings import Channel

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trueline_edge.stages.predicting import Predicting
    from trueline_wire.readings import Schema

__all__ = ["Predict"]


class Predict(ModelSettings, frozen=True, kw_only=True, tag="predict"):
    """A model predicts from some channels of the stream.

    Attributes:
        name: of the new channels: "NAME", "NAME.low", "NAME.high", "NAME.model".
        unit: of the first three, UCUM: the model's.
        model: a folder that `trueline-edge model install` keeps, or one package (.tlm).
        public_key: of the one who must have signed it: base64, as `trueline-cloud key` prints it.
        channels: what the model reads, in the order of its inputs; the channels called like its inputs where left out.
        coverage: how often the interval shall hold the truth.
    """

    unit: str
    coverage: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.coverage < 1.0:
            raise ValueError(f"coverage {self.coverage} must be above 0 and below 1")

    def added(self) -> list[Channel]:
        """The new channels; they do not depend on which model serves."""
        said = [Channel(name=f"{self.name}{end}", unit=self.unit) for end in ("", ".low", ".high")]
        return [*said, Channel(name=f"{self.name}.model")]

    def objections(self, schema: Schema) -> Iterator[Objection]:
        """No model, one that reads other channels or units or predicts in another, a coverage it cannot promise."""
        from trueline_edge.inference.serving import serve_prediction  # noqa: PLC0415 - where it is used

        yield from super().objections(schema)
        yield from self.taken(schema)
        package, missing = self.package()
        yield from missing
        if package is None:
            return
        yield from misfits(package, self.channels, schema)
        try:
            predictor, intervals = serve_prediction(package)
        except (ConfigError, NeverRetry) as error:
            yield Objection(("model",), str(error))
            return
        if predictor.recipe.unit != self.unit:
            yield Objection(("unit",), f"{predictor.recipe.target} is predicted in {predictor.recipe.unit!r}")
        try:
            intervals.stretch(self.coverage)
        except ConfigError as error:
            yield Objection(("coverage",), str(error))

    def misfits_in_time(self, interval_s: float) -> Iterator[Objection]:
        """Why a model is not for rows that come at this interval.

        Args:
            interval_s: nominal time from row to row.
        """
        from trueline_edge.inference.serving import open_model, serve_prediction  # noqa: PLC0415 - where it is used

        try:
            package = open_model(self.model, self.public_key).package
            recipe = serve_prediction(package)[0].recipe
        except (ConfigError, NeverRetry):  # said by `objections`
            return
        trained_s = package.manifest.interval_s
        hint = "train on this stream, or bring it to that interval with the source 'join'"
        if recipe.step_s and interval_s > recipe.step_s:
            message = f"rows come each {interval_s:g} s, and the model wants one in each {recipe.step_s:g} s"
            yield Objection(("model",), message, hint)
        elif not recipe.step_s and is_other_pace(interval_s, trained_s):
            message = f"rows come each {interval_s:g} s, and the model's {recipe.rows} rows were {trained_s:g} s apart"
            yield Objection(("model",), message, hint)

    def stage(self, schema: Schema) -> Predicting:
        """The stage for readings of this schema. Where no model serves, it says so and its channels are MISSING."""
        from trueline_edge.stages.predicting import Predicting  # noqa: PLC0415 - paid for where it is used

        return Predicting(self, schema)
