"""Which combiners and filters a configuration asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trueline_edge.calibration.file import load_calibration
from trueline_edge.estimation.kernels import Robust
from trueline_edge.estimation.structural import DailyNoise
from trueline_edge.stages.fusion.groups import Group, GroupSettings
from trueline_edge.stages.fusion.means import Vote, WeightedMean
from trueline_edge.stages.fusion.noise import load_noise
from trueline_edge.stages.fusion.process import (
    Daily,
    GivenLevel,
    GivenTrend,
    LearntDay,
    LearntLevel,
    LearntMove,
    LearntTrend,
    gate_of,
)
from trueline_edge.stages.fusion.singles import Singles
from trueline_wire.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trueline_edge.stages.fuse import Fuse, FuseOutput
    from trueline_edge.stages.fusion.cells import Combiner
    from trueline_edge.stages.fusion.process import Filter
    from trueline_wire.readings import Schema

    Array = NDArray[np.float64]

__all__ = ["Part", "make_combiners", "make_filter"]


class Part(NamedTuple):
    """A combiner, and the outputs it makes."""

    which: NDArray[np.intp]
    combiner: Combiner


class _Noise(NamedTuple):
    """Of one output: variance of each input's noise (NaN: from `u`), and what moves the quantity."""

    r: Array
    q: float
    q_trend: float
    q_daily: float
    damping_s: float


def make_combiners(config: Fuse, schema: Schema) -> list[Part]:
    """The combiners of a stage `fuse`; together they make every output once.

    Raises:
        ConfigError: the file with the noises cannot be used.
    """
    outputs = config.all_outputs()
    every = np.arange(len(outputs))
    common = np.array([output.common_u for output in outputs])
    if config.model == "weighted_mean":
        width = max(len(output.inputs) for output in outputs)
        return [Part(every, WeightedMean(common, config.confidence, _own(outputs, width)))]
    if config.model == "vote":
        shape = (len(outputs), max(len(output.inputs) for output in outputs))
        vote = Vote(shape, common, config.gate_used, config.fail_after, config.recover_after)
        return [Part(every, vote)]
    noises = [_noise(config, output) for output in outputs]
    parts = []
    for known in (True, False):
        alone = [o for o, each in enumerate(outputs) if len(each.inputs) == 1 and _known(config, each) == known]
        if alone:
            parts.append(Part(np.array(alone), _singles(config, outputs, noises, alone, schema)))
    groups = [o for o, output in enumerate(outputs) if len(output.inputs) > 1]
    return parts + [Part(np.array([o]), _group(config, outputs[o], noises[o], schema)) for o in groups]


def _known(config: Fuse, output: FuseOutput) -> bool:
    """Is the noise of the inputs known, be it as what the systematic part leaves of their `u`?"""
    told = output.r is not None or output.systematic_u is not None or np.isfinite(_calibrated(config, output)).all()
    return config.noise == "given" or bool(told)


def _calibrated(config: Fuse, output: FuseOutput) -> Array:
    """(m,) variance of the noise of each input by its calibration; NaN where there is none."""
    found = [load_calibration(path) for path in config.calibrations]
    noise = {calibration.channel: calibration.u.noise**2 for calibration in found if calibration.u.noise > 0.0}
    return np.array([noise.get(name, np.nan) for name in output.inputs])


def _noise(config: Fuse, output: FuseOutput) -> _Noise:
    m = len(output.inputs)
    fitted = load_noise(config.file).of(output.name) if config.file else None
    if config.file and fitted is None:
        raise ConfigError(f"{config.file}: no noise of {output.name!r}: run trueline-edge tune")
    r = output.r if output.r is not None or fitted is None else fitted.r
    given = np.array(r, np.float64) if r is not None else _calibrated(config, output)
    if given.ndim and len(given) != m:
        raise ConfigError(f"{config.file}: r of {output.name!r} has {len(given)} numbers for {m} inputs")

    def either(key: str) -> float:
        own = getattr(output, key)
        found = own if own is not None else getattr(fitted, key, None)
        if found is None and config.noise == "given" and _wanted(config, key):
            raise ConfigError(f"output {output.name!r} of a stage fuse: {key} is missing")
        return float(found or 0.0)

    damping_s = config.damping_s if fitted is None or fitted.damping_s is None else fitted.damping_s
    return _Noise(np.broadcast_to(given, (m,)), either("q"), either("q_trend"), either("q_daily"), damping_s)


def _wanted(config: Fuse, key: str) -> bool:
    return key == "q" or (key == "q_trend" and config.model != "level") or config.model == "daily"


def make_filter(config: Fuse, noises: Sequence[_Noise], floor: Array, *, known: bool) -> Filter:
    """The filter of as many quantities as there are noises; `known`: those of the values are."""
    robust = Robust(gate=config.gate_used, step_samples=config.step_samples)
    if config.noise == "given":
        return _given(config, noises, robust)
    if config.model == "daily":
        return LearntDay(floor, config.damping_s, robust, known=known)
    if known:
        return LearntMove(len(noises), config.damping_s, robust)
    if config.model == "trend":
        return LearntTrend(floor, config.damping_s, robust)
    return LearntLevel(floor, gate_of(robust))


def _given(config: Fuse, noises: Sequence[_Noise], robust: Robust) -> Filter:
    q = np.array([noise.q for noise in noises])
    if config.model == "level":
        return GivenLevel(q, robust)
    if config.model == "trend":
        q_trend = np.array([noise.q_trend for noise in noises])
        typical = np.array([np.nan_to_num(np.mean(noise.r), nan=1.0) for noise in noises])
        return GivenTrend(q, q_trend, noises[0].damping_s, typical, robust)
    return Daily([DailyNoise(n.q, n.q_trend, n.damping_s, n.q_daily) for n in noises], robust)


def _singles(
    config: Fuse, outputs: Sequence[FuseOutput], noises: Sequence[_Noise], alone: Sequence[int], schema: Schema
) -> Singles:
    floor = np.array([_floors(schema, outputs[o])[0] for o in alone])
    systematic = np.array([_systematic(outputs[o])[0] for o in alone])
    common = np.array([outputs[o].common_u for o in alone])
    known = _known(config, outputs[alone[0]])
    r = np.array([noises[o].r[0] for o in alone]) if known else None
    return Singles(make_filter(config, [noises[o] for o in alone], floor, known=known), systematic, common, r)


def _group(config: Fuse, output: FuseOutput, noise: _Noise, schema: Schema) -> Group:
    known = _known(config, output)
    robust = Robust(gate=config.gate_used, step_samples=config.step_samples)
    floors = _floors(schema, output)
    settings = GroupSettings(
        systematic_u=_systematic(output),
        common_u=output.common_u,
        own_u=_each(output, output.own_u),
        independent=output.independent,
        r=noise.r if known else None,
        gate=config.gate_used,
    )
    watch: Filter = LearntLevel(floors, gate_of(robust))
    if known:
        given = GivenLevel(np.full(len(floors), noise.q), robust)
        watch = given if config.noise == "given" else LearntMove(len(floors), config.damping_s, robust)
    # What the sensors' noises make of their mean is known also where they were learnt; and what they agree on is no
    # spike: a surprise is a step at once.
    moves = config.noise == "learn" and (known or config.model == "trend") and config.model != "daily"
    process: Filter = LearntMove(1, config.damping_s, robust._replace(step_samples=1))
    if not moves:
        process = make_filter(config, [noise], np.zeros(1), known=known)
    return Group(settings, watch, process)


def _floors(schema: Schema, output: FuseOutput) -> Array:
    """(m,) variance of rounding to the resolution."""
    steps = {channel.name: channel.resolution for channel in schema.channels}
    return np.array([steps[name] ** 2 / 12.0 for name in output.inputs])


def _systematic(output: FuseOutput) -> Array:
    return _each(output, output.systematic_u)


def _each(output: FuseOutput, given: float | tuple[float, ...] | None) -> Array:
    """(m,) of each input; NaN where it was not given."""
    return np.broadcast_to(np.asarray(np.nan if given is None else given, np.float64), (len(output.inputs),))


def _own(outputs: Sequence[FuseOutput], width: int) -> Array:
    """(k, m) standard uncertainty that is each input's own, noise and all; NaN where it was not given."""
    own = np.full((len(outputs), width), np.nan)
    for o, output in enumerate(outputs):
        own[o, : len(output.inputs)] = np.sqrt(
            np.square(_each(output, output.own_u)) + np.nan_to_num(_each(output, output.r))
        )
    return own
