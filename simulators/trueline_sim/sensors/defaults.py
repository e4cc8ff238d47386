"""Which sensor looks at a measurand unless another is asked for.

Promises: a plain table: by scenario and measurand, else by unit. Refuses to know what a scenario does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trueline_sim.sensors.catalogue import CATALOGUE, in_unit

if TYPE_CHECKING:
    from trueline_sim.sensors.model import SensorModel
    from trueline_sim.truth.scenario import Measurand

__all__ = ["default_sensor"]

_BY_MEASURAND: Final[dict[tuple[str, str], str]] = {
    ("greenhouse", "air_temperature"): "SHT31/temperature",
    ("greenhouse", "outdoor_temperature"): "DHT22/temperature",
    ("greenhouse", "soil_temperature"): "DS18B20/temperature",
    ("machine", "acceleration"): "PCB-352C33/acceleration",
    ("machine", "acceleration_rms"): "ADXL345-rms/vibration",
    ("machine", "current"): "SCT-013-050/current",
    ("machine", "winding_temperature"): "PT100-A/temperature",
    ("machine", "bearing_temperature"): "PT100-A/temperature",
    ("machine", "load"): "torque-load/load",
    ("water_loop", "vibration_1"): "ADXL345-rms/vibration",
    ("water_loop", "vibration_2"): "ADXL345-rms/vibration",
    ("water_loop", "motor_temperature"): "thermocouple-K/temperature",
    ("water_loop", "fluid_temperature"): "PT100-A/temperature",
    ("water_loop", "tank_level"): "ultrasonic-level/level",
    ("cold_chain", "humidity"): "BME280/humidity",
    ("cold_chain", "door_open"): "reed-switch/state",
    ("air_quality", "temperature"): "BME280/temperature",
    ("air_quality", "humidity"): "BME280/humidity",
    ("air_quality", "o3"): "Alphasense-B4/o3",
    ("air_quality", "co"): "Alphasense-B4/co",
    ("motion", "x"): "DWM1001/position",
    ("motion", "y"): "DWM1001/position",
}

_BY_UNIT: Final[dict[str, str]] = {
    "Hz": "reluctance-pickup/speed",
    "Cel": "DS18B20/temperature",
    "%": "SHT31/humidity",
    "m/s2": "ADXL345/acceleration",
    "[g]": "ADXL345/acceleration",
    "rad/s": "MPU-6050/rate",
    "deg/s": "MPU-6050/rate",
    "[ppm]": "SCD30/co2",
    "[ppb]": "Alphasense-B4/no2",
    "ug/m3": "SPS30/pm2.5",
    "bar": "WIKA-A-10/pressure",
    "kPa": "WIKA-A-10/pressure",
    "hPa": "BME280/pressure",
    "Pa": "BME280/pressure",
    "L/min": "Promag-10/flow",
    "m3/h": "Promag-10/flow",
    "m3/m3": "TEROS-10/moisture",
    "lx": "BH1750/illuminance",
    "umol/m2/s": "SQ-500/par",
    "W/m2": "SP-110/irradiance",
    "A": "ACS712-20A/current",
    "V": "ZMPT101B/voltage",
    "m": "DWM1000/range",
    "m/s": "encoder-600/speed",
}


def default_sensor(scenario: str, measurand: Measurand) -> SensorModel:
    """The usual sensor, in the measurand's unit.

    Args:
        scenario: its name.
        measurand: what is looked at.

    Raises:
        ValueError: the tables name none.
    """
    name = _BY_MEASURAND.get((scenario, measurand.name)) or _BY_UNIT.get(measurand.unit)
    if name is None:
        raise ValueError(f"no usual sensor for {scenario}'s {measurand.name} in {measurand.unit}: name one")
    return in_unit(CATALOGUE[name], measurand.unit)
