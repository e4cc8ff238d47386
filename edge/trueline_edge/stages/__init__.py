"""Stages: Readings -> Readings, pure. Each sets flags and never deletes or mends a reading in silence.

The stages a configuration may name stand in `StageChoice`; a new one is one file and one name in this list.
"""

from trueline_edge.stages.convert import Convert
from trueline_edge.stages.estimate import Estimate
from trueline_edge.stages.flat_line import FlatLine
from trueline_edge.stages.gross_range import GrossRange
from trueline_edge.stages.missing import Missing
from trueline_edge.stages.moving import Moving
from trueline_edge.stages.normalise import Normalise
from trueline_edge.stages.significance import Significance
from trueline_edge.stages.stage import Stage, StageConfig, StageSettings, Thinner

__all__ = [
    "Convert",
    "Estimate",
    "FlatLine",
    "GrossRange",
    "Missing",
    "Moving",
    "Normalise",
    "Significance",
    "Stage",
    "StageChoice",
    "StageConfig",
    "StageSettings",
    "Thinner",
]

StageChoice = GrossRange | Missing | FlatLine | Significance | Estimate | Convert | Normalise | Moving
