"""Stages: Readings -> Readings, pure. Each sets flags and never deletes or mends a reading in silence.

The stages a configuration may name stand in `StageChoice`; a new one is one file and one name in this list.
"""

from trueline_edge.stages.attenuated import Attenuated
from trueline_edge.stages.calibrate import Calibrate
from trueline_edge.stages.climatology import Band, Climatology
from trueline_edge.stages.convert import Convert
from trueline_edge.stages.detect import Detect
from trueline_edge.stages.estimate import Estimate
from trueline_edge.stages.flat_line import FlatLine
from trueline_edge.stages.fuse import Fuse
from trueline_edge.stages.gross_range import GrossRange
from trueline_edge.stages.missing import Missing
from trueline_edge.stages.moving import Moving
from trueline_edge.stages.neighbours import Neighbours
from trueline_edge.stages.noise import Noise
from trueline_edge.stages.normalise import Normalise
from trueline_edge.stages.predict import Predict
from trueline_edge.stages.rate_of_change import RateOfChange
from trueline_edge.stages.self_calibrate import SelfCalibrate
from trueline_edge.stages.significance import Significance
from trueline_edge.stages.spike import Spike
from trueline_edge.stages.stage import Renewable, Stage, StageConfig, StageSettings, Teller, Thinner
from trueline_edge.stages.timing import Timing

__all__ = [
    "Attenuated",
    "Band",
    "Calibrate",
    "Climatology",
    "Convert",
    "Detect",
    "Estimate",
    "FlatLine",
    "Fuse",
    "GrossRange",
    "Missing",
    "Moving",
    "Neighbours",
    "Noise",
    "Normalise",
    "Predict",
    "RateOfChange",
    "Renewable",
    "SelfCalibrate",
    "Significance",
    "Spike",
    "Stage",
    "StageChoice",
    "StageConfig",
    "StageSettings",
    "Teller",
    "Thinner",
    "Timing",
]

StageChoice = (
    GrossRange
    | Missing
    | FlatLine
    | Significance
    | Estimate
    | Convert
    | Detect
    | Predict
    | Normalise
    | Moving
    | Attenuated
    | Climatology
    | Neighbours
    | Noise
    | RateOfChange
    | Spike
    | Timing
    | Calibrate
    | Fuse
    | SelfCalibrate
)
