from __future__ import annotations

import json
import math

import pytest
from small_world import Room

from trueline_sim.__main__ import main
from trueline_sim.compare import Wish, compare, stated_u, verdict
from trueline_sim.sensors.model import SensorModel


def _model(part: str, **figures: float) -> SensorModel:
    return SensorModel(
        part=part, quantity="temperature", unit="Cel", source="this test", range_low=-40, range_high=80, **figures
    )


BIASED = _model("biased", bias_max=math.sqrt(3.0) * 0.3, price_eur=1.0, energy_J=1.0)
NOISY = _model("noisy", noise_density=0.3, price_eur=2.0, energy_J=0.1)
WISH = Wish(measurand="air_temperature", u=0.12, window_s=160.0, hours=2.0, devices=300, seed=1)
STILL = Room(step_K=0.0)


def test_bias_is_beaten_by_number_noise_by_rate() -> None:
    """A constant error goes down with the number of sensors only, white noise with every reading."""
    by = {
        (choice.sensor, choice.parallel, choice.interval_s): choice for choice in compare(STILL, [BIASED, NOISY], WISH)
    }
    for interval_s in (160.0, 40.0, 10.0):
        assert by["biased/temperature", 1, interval_s].rmse == pytest.approx(0.3, rel=0.1)
        assert by["biased/temperature", 5, interval_s].rmse == pytest.approx(0.3 / math.sqrt(5), rel=0.15)
    assert by["noisy/temperature", 1, 160.0].rmse == pytest.approx(0.3, rel=0.05)
    assert by["noisy/temperature", 1, 10.0].rmse == pytest.approx(0.3 / 4, rel=0.05)
    for choice in by.values():
        assert choice.rmse == pytest.approx(choice.stated_u, rel=0.15)


def test_the_cheapest_that_does_is_named() -> None:
    """One noisy part read often enough beats eight biased ones; what it costs is said."""
    best, told = verdict(compare(STILL, [BIASED, NOISY], WISH), WISH, "Cel")
    assert best is not None
    assert (best.sensor, best.parallel, best.interval_s) == ("noisy/temperature", 1, 10.0)
    assert "meets 0.12 Cel" in told
    assert "2 EUR" in told


def test_when_nothing_does_it_is_said() -> None:
    """A wish beyond all of them has no best (negative control)."""
    wish = Wish(measurand="air_temperature", u=1e-4, window_s=160.0, hours=1.0, devices=20, seed=1)
    best, told = verdict(compare(STILL, [NOISY], wish), wish, "Cel")
    assert best is None
    assert told.startswith("None of these")


def test_a_slow_sensor_pays_for_its_lag() -> None:
    """The measured error holds what no datasheet states: the lag behind a restless truth."""
    slow = _model("slow", noise_density=0.01, response_s=600.0)
    choice = compare(Room(step_K=0.3), [slow], WISH)[0]
    assert choice.rmse > 5 * choice.stated_u


def test_parts_are_not_read_faster_than_they_can() -> None:
    """A part with a shortest interval is tried at the rates it has."""
    lazy = _model("lazy", noise_density=0.1, interval_min_s=30.0)
    assert {choice.interval_s for choice in compare(STILL, [lazy], WISH)} == {160.0, 40.0}


def test_stated_uncertainty_is_the_datasheets_for_one_reading() -> None:
    """One sensor, one reading: what `standard_uncertainty` says."""
    assert stated_u(NOISY, 1, 1, 10.0, 0.0) == NOISY.standard_uncertainty(10.0)
    assert stated_u(BIASED, 4, 9, 10.0, 0.0) == pytest.approx(BIASED.standard_uncertainty(10.0) / 2)


def test_same_seed_same_table() -> None:
    """The table depends on the seed and nothing else."""
    assert compare(Room(), [NOISY], WISH) == compare(Room(), [NOISY], WISH)


def test_command_tells_table_and_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    """`compare` prints a line a choice and a verdict; --json is one object; a wish nobody meets is exit code 1."""
    command = ["compare", "cold_chain", "--sensors", "SHT31,DS18B20", "--hours", "0.5", "--devices", "10"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "SHT31/temperature" in text
    assert text.rstrip().endswith("places).")
    assert main([*command, "--wanted-u", "1e-6", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["best"] is None
    assert document["unit"] == "Cel"
    assert main(["compare", "cold_chain", "--sensors", "SPS30"]) == 2
    assert "no sensor 'SPS30'" in capsys.readouterr().err
