"""What a message costs a battery: airtime, charge and days, for kinds of radio and policies of sampling and sending.

    one message:  Q = wake_s wake_A + airtime tx_A + packets answer_s rx_A + tail_s tail_A
    one day:      Q_day = messages Q + samples E / V + 86,400 s (sleep_A + held_A)
    days:         usable C / (Q_day + self-discharge a day)

Promises: pure functions; every figure of a radio says where it is from, and what is an assumption says so. Sleep is
counted for the whole day, also while something is awake: less than 1 % too much where a device sleeps most of the time.
Refuses to know about cold, ageing cells and repeated sending on a bad link: multiply for yourself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DAY_S", "RADIOS", "Cost", "DayCost", "Policy", "Radio", "cost_of_day", "cost_of_message", "lora_airtime_s"]

DAY_S: Final = 86_400.0

_COULOMB_PER_MAH: Final = 3.6
_DAYS_PER_YEAR: Final = 365.25
_LORA_SLOW_SYMBOL_S: Final = 0.016


@dataclass(frozen=True, slots=True, kw_only=True)
class Radio:
    """A kind of radio, with its micro-controller asleep where the part has one.

    Attributes:
        name: as on the command line.
        source: where the figures are from, and which are assumptions.
        supply_V: of all currents.
        sleep_A: asleep, with the clock running.
        held_A: on average for staying connected between messages; 0.0: it does not.
        wake_s: from asleep to ready to send, for each message.
        wake_A: meanwhile.
        tx_A: sending.
        rx_A: receiving.
        bit_rate: bits a second on air; 0.0: `lora_spreading` says it.
        lora_spreading: spreading factor at 125 kHz; 0: this is no LoRa.
        packet_bytes: of a message, in one packet, at most.
        overhead_bytes: of each packet: headers and checks of all layers below the message.
        overhead_s: of each packet, on air: preambles and waiting for a turn.
        answer_s: listening after each packet.
        tail_s: awake after a message.
        tail_A: meanwhile.
        duty_max: share of time it may send, by law.
    """

    name: str
    source: str
    supply_V: float  # noqa: N815 - units keep their capitals, here and below
    sleep_A: float  # noqa: N815
    held_A: float = 0.0  # noqa: N815
    wake_s: float
    wake_A: float  # noqa: N815
    tx_A: float  # noqa: N815
    rx_A: float  # noqa: N815
    bit_rate: float = 0.0
    lora_spreading: int = 0
    packet_bytes: int
    overhead_bytes: int
    overhead_s: float = 0.0
    answer_s: float
    tail_s: float = 0.0
    tail_A: float = 0.0  # noqa: N815
    duty_max: float = 1.0

    def packet_s(self, size: int) -> float:
        """Time on air of one packet with so many bytes of a message."""
        if self.lora_spreading:
            return lora_airtime_s(size + self.overhead_bytes, self.lora_spreading)
        return self.overhead_s + 8 * (size + self.overhead_bytes) / self.bit_rate


def lora_airtime_s(size: int, spreading: int, *, bandwidth_hz: float = 125e3, preamble: int = 8) -> float:
    """Time on air of a LoRa packet: explicit header, CRC on, coding rate 4/5 (Semtech SX1276 datasheet, 4.1.1.7).

    Args:
        size: bytes of the physical payload.
        spreading: factor, 7 to 12.
        bandwidth_hz: of the chirps.
        preamble: symbols, without the 4.25 that are always added.
    """
    symbol_s = (1 << spreading) / bandwidth_hz
    slow = 1 if symbol_s > _LORA_SLOW_SYMBOL_S else 0
    bits = 8 * size - 4 * spreading + 28 + 16
    symbols = 8 + max(math.ceil(bits / (4 * (spreading - 2 * slow))) * 5, 0)
    return (preamble + 4.25 + symbols) * symbol_s


class Cost(NamedTuple):
    """Of one message."""

    packets: int
    airtime_s: float
    charge_C: float  # noqa: N815


def cost_of_message(radio: Radio, size: int) -> Cost:
    """What one message of so many bytes costs, cut into packets where it has to be.

    Raises:
        ValueError: no bytes.
    """
    if size < 1:
        raise ValueError(f"a message of {size} bytes")
    whole, rest = divmod(size, radio.packet_bytes)
    airtime_s = whole * radio.packet_s(radio.packet_bytes) + (radio.packet_s(rest) if rest else 0.0)
    packets = whole + (rest > 0)
    charge = radio.wake_s * radio.wake_A + airtime_s * radio.tx_A
    charge += packets * radio.answer_s * radio.rx_A + radio.tail_s * radio.tail_A
    return Cost(packets, airtime_s, charge)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How often a device samples, and how many rows it sends at once.

    Attributes:
        interval_s: between rows.
        rows: in a frame.
    """

    interval_s: float
    rows: int

    @property
    def messages_per_day(self) -> float:
        """Frames, that is."""
        return DAY_S / (self.interval_s * self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCost:
    """What a policy costs in a day, and how long the battery lasts.

    Attributes:
        messages: a day.
        airtime_s: a day.
        radio_C: charge for the messages.
        sensors_C: charge for the samples.
        idle_C: charge for sleeping and for staying connected.
        days: of battery.
        allowed: neither more time on air than there is, nor than the law gives.
    """

    messages: float
    airtime_s: float
    radio_C: float  # noqa: N815
    sensors_C: float  # noqa: N815
    idle_C: float  # noqa: N815
    days: float
    allowed: bool


def cost_of_day(
    radio: Radio,
    policy: Policy,
    *,
    message_bytes: int,
    sample_J: float,  # noqa: N803 - the unit
    battery_mah: float,
    usable: float = 0.8,
    self_discharge_per_year: float = 0.02,
) -> DayCost:
    """What a policy costs.

    Args:
        radio: what it sends with.
        policy: how often.
        message_bytes: of one frame, sealed.
        sample_J: energy of one row, all sensors.
        battery_mah: nominal capacity.
        usable: share of it that comes out before the voltage is too low (an assumption).
        self_discharge_per_year: share of it that goes by itself (an assumption; alkaline and lithium cells: 1 to 3 %).
    """
    message, count = cost_of_message(radio, message_bytes), policy.messages_per_day
    radio_c = count * message.charge_C
    sensors_c = DAY_S / policy.interval_s * sample_J / radio.supply_V
    idle_c = DAY_S * (radio.sleep_A + radio.held_A)
    capacity = battery_mah * _COULOMB_PER_MAH
    leak = capacity * self_discharge_per_year / _DAYS_PER_YEAR
    awake_s = radio.wake_s + message.airtime_s + message.packets * radio.answer_s + radio.tail_s
    return DayCost(
        messages=count,
        airtime_s=count * message.airtime_s,
        radio_C=radio_c,
        sensors_C=sensors_c,
        idle_C=idle_c,
        days=usable * capacity / (radio_c + sensors_c + idle_c + leak),
        allowed=count * message.airtime_s <= DAY_S * radio.duty_max and count * awake_s <= DAY_S,
    )


_SX1276: Final = (
    "Semtech SX1276 datasheet rev. 7: +13 dBm 29 mA, receive 11.5 mA, sleep 0.2 uA; LoRaWAN 1.0.4: 13 bytes of header "
    "and MIC, RP002 EU868 payloads; ETSI EN 300 220: 1 %. Assumed: 1.5 uA asleep with the micro-controller's clock, "
    "5 ms at 5 mA to wake it, two receive windows of 8 symbols and 20 ms in all, acknowledgements not counted"
)

_LORA_SF7: Final = Radio(
    name="lora-sf7",
    source=_SX1276,
    supply_V=3.3,
    sleep_A=1.7e-6,
    wake_s=5e-3,
    wake_A=5e-3,
    tx_A=29e-3,
    rx_A=11.5e-3,
    lora_spreading=7,
    packet_bytes=222,
    overhead_bytes=13,
    answer_s=0.036,
    duty_max=0.01,
)

RADIOS: Final[Mapping[str, Radio]] = {
    radio.name: radio
    for radio in (
        Radio(
            name="ble",
            source=(
                "Nordic nRF52832 product specification v1.1: 0 dBm 7.1 mA, receive 6.5 mA (3 V, DC/DC), System ON 1.9 "
                "uA; Bluetooth 4.2 vol. 6 B: LE 1M, 14 bytes around a PDU of 251 with 7 of L2CAP and ATT, 150 us "
                "between packets, 80 us an empty one. Assumed: an empty event of 0.6 ms each second to stay linked"
            ),
            supply_V=3.0,
            sleep_A=1.9e-6,
            held_A=3.9e-6,
            wake_s=1.5e-3,
            wake_A=3.4e-3,
            tx_A=7.1e-3,
            rx_A=6.5e-3,
            bit_rate=1e6,
            packet_bytes=244,
            overhead_bytes=21,
            answer_s=380e-6,
        ),
        Radio(
            name="wifi",
            source=(
                "Espressif ESP32 datasheet: 802.11g 190 mA, receive 95 to 100 mA, deep sleep 10 uA; IEEE 802.11: 38 "
                "bytes of MAC and LLC, 20 us preamble, 34 us DIFS, 68 us mean back-off at 9 us slots; 40 bytes of IP "
                "and TCP. Assumed: 1.0 s to join again after deep sleep (ESP8266EX datasheet 3.4: 0.3 to 1 s), 6 Mbit/s"
            ),
            supply_V=3.3,
            sleep_A=10e-6,
            wake_s=1.0,
            wake_A=0.1,
            tx_A=0.19,
            rx_A=0.1,
            bit_rate=6e6,
            packet_bytes=1460,
            overhead_bytes=78,
            overhead_s=122e-6,
            answer_s=0.05,
        ),
        _LORA_SF7,
        replace(_LORA_SF7, name="lora-sf12", lora_spreading=12, packet_bytes=51, answer_s=0.544),
        Radio(
            name="nb-iot",
            source=(
                "u-blox SARA-N2 datasheet: deep sleep 3 uA, active 6 mA, receive 46 mA, 23 dBm 220 mA; 3GPP TS 36.211 "
                "single tone of 15 kHz. Assumed: 15.6 kbit/s, 2 s of attaching at the receiver's current, 20 s of "
                "inactivity timer at the active current, 36 bytes of IP, UDP and CoAP, good coverage (no repetitions)"
            ),
            supply_V=3.6,
            sleep_A=3e-6,
            wake_s=2.0,
            wake_A=46e-3,
            tx_A=0.22,
            rx_A=46e-3,
            bit_rate=15.6e3,
            packet_bytes=1200,
            overhead_bytes=36,
            answer_s=0.2,
            tail_s=20.0,
            tail_A=6e-3,
        ),
    )
}
"""Every radio by its name."""
