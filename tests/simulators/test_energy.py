from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueline_sim.__main__ import main
from trueline_sim.energy import RADIOS, Policy, Radio, cost_of_day, cost_of_message, lora_airtime_s

_ROUND = Radio(
    name="round numbers",
    source="made up",
    supply_V=2.0,
    sleep_A=1e-6,
    held_A=1e-6,
    wake_s=0.5,
    wake_A=0.01,
    tx_A=0.1,
    rx_A=0.05,
    bit_rate=8000.0,
    packet_bytes=100,
    overhead_bytes=10,
    overhead_s=0.001,
    answer_s=0.02,
    tail_s=2.0,
    tail_A=0.002,
)


def test_a_message_worked_by_hand() -> None:
    """250 bytes in packets of 100: each charge is what pencil and paper say."""
    cost = cost_of_message(_ROUND, 250)
    # Packets of 100, 100 and 50 bytes, 10 more each: 0.111 + 0.111 + 0.061 s on air.
    assert cost.packets == 3
    assert cost.airtime_s == pytest.approx(0.283)
    # 5 mC to wake, 28.3 mC to send, 3 mC to listen, 4 mC of tail.
    assert cost.charge_C == pytest.approx(0.0403)
    assert cost_of_message(_ROUND, 100).packets == 1
    with pytest.raises(ValueError, match="0 bytes"):
        cost_of_message(_ROUND, 0)


def test_a_day_worked_by_hand() -> None:
    """A row a minute, ten in a frame, 0.02 J a row, 1,000 mAh: 144 messages, and days to the digit."""
    policy = Policy(interval_s=60.0, rows=10)
    cost = cost_of_day(
        _ROUND, policy, message_bytes=250, sample_J=0.02, battery_mah=1000.0, usable=0.5, self_discharge_per_year=0.0
    )
    assert cost.messages == 144.0
    assert cost.radio_C == pytest.approx(144 * 0.0403)  # 5.8032
    assert cost.sensors_C == pytest.approx(1440 * 0.01)  # 14.4: 10 mC a row at 2 V
    assert cost.idle_C == pytest.approx(0.1728)  # 2 uA
    assert cost.days == pytest.approx(1800 / 20.376)
    assert cost.allowed
    leaking = cost_of_day(
        _ROUND,
        policy,
        message_bytes=250,
        sample_J=0.02,
        battery_mah=1000.0,
        usable=0.5,
        self_discharge_per_year=0.365250,
    )
    assert leaking.days == pytest.approx(1800 / (20.376 + 3.6))  # 1/1000 of 3600 C a day


@pytest.mark.parametrize(
    ("size", "spreading", "milliseconds"),
    [
        (20, 7, 56.576),  # 43 symbols of 1.024 ms after 12.25
        (20, 12, 1318.912),  # 28 symbols of 32.768 ms after 12.25, slow: 4 (12 - 2) bits a block
        (64, 12, 2793.472),
    ],
)
def test_lora_airtime(size: int, spreading: int, milliseconds: float) -> None:
    """The datasheet's formula, worked by hand."""
    assert lora_airtime_s(size, spreading) * 1e3 == pytest.approx(milliseconds)


@pytest.mark.parametrize("radio", RADIOS.values(), ids=list(RADIOS))
@given(size=st.integers(1, 5000), more=st.integers(1, 500))
def test_more_bytes_never_cost_less(radio: Radio, size: int, more: int) -> None:
    """Cost grows with the message, for every radio."""
    small, large = cost_of_message(radio, size), cost_of_message(radio, size + more)
    assert small.packets <= large.packets
    assert small.airtime_s <= large.airtime_s
    assert small.charge_C <= large.charge_C


@pytest.mark.parametrize("radio", RADIOS.values(), ids=list(RADIOS))
def test_fewer_larger_frames_last_longer(radio: Radio) -> None:
    """Ten rows in one frame of 250 bytes cost less than ten frames of 120 bytes; every radio says its sources."""
    one = cost_of_day(radio, Policy(interval_s=60, rows=10), message_bytes=250, sample_J=0.0, battery_mah=2600)
    ten = cost_of_day(radio, Policy(interval_s=60, rows=1), message_bytes=120, sample_J=0.0, battery_mah=2600)
    assert one.days > ten.days
    assert "datasheet" in radio.source or "specification" in radio.source


def test_the_law_limits_airtime() -> None:
    """1,319 ms each minute is more than 1 % of the time, each hour it is not."""
    for interval_s, allowed in ((60.0, False), (3600.0, True)):
        policy = Policy(interval_s=interval_s, rows=1)
        cost = cost_of_day(RADIOS["lora-sf12"], policy, message_bytes=7, sample_J=0.0, battery_mah=2600)
        assert cost.airtime_s == pytest.approx(policy.messages_per_day * 1.318912)
        assert cost.allowed is allowed


def test_the_command_prints_days_of_battery(capsys: pytest.CaptureFixture[str]) -> None:
    """`fleet greenhouse --radio wifi` needs no broker: a line for each policy, the asked one first, sources named."""
    assert main(["fleet", "greenhouse", "--radio", "wifi", "--battery-mah", "2600", "--rate-hz", "0.1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Espressif" in lines[1]
    asked = lines[3].removeprefix(">").split()
    assert asked[:3] == ["1", "s", "10"]
    days = {
        tuple(line.split()[:3]): float(line.split()[-1].replace(",", ""))
        for line in lines[4:]
        if "too often" not in line
    }
    assert days["600", "s", "60"] > days["600", "s", "1"] > days["60", "s", "1"]


def test_a_fleet_without_a_broker_or_a_radio_says_what_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a live run nor a budget: a message, not a traceback."""
    assert main(["fleet", "--devices", "1"]) == 2
    assert "--broker" in capsys.readouterr().err
    assert main(["fleet", "--radio", "ble"]) == 2
    assert "SCENARIO" in capsys.readouterr().err
