"""Parts people really use, with the figures of their datasheets.

Promises: each part names the document its figures are from. A tolerance is taken as a limit, also where the document
calls it typical: pieces outside it are not simulated. A repeatability is taken as three standard deviations. What no
document gives (marked "est.") is an estimate of the usual order: 1/f noise, random walk, noise of slow parts, price.
Where a part has several ranges, the span is the part of it people use. Refuses to know individuals.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Final

from trueline_sim.sensors.model import SensorModel

__all__ = ["CATALOGUE", "PARTS", "find", "in_unit"]

_G: Final = 9.80665  # m/s2
_DHT22: Final = (
    "Aosong, AM2302 (DHT22) product manual: accuracy, repeatability, hysteresis, stability, response; noise est."
)
_SHT31: Final = "Sensirion, Datasheet SHT3x-DIS: tables 1, 2, figs. 3-8 (repeatability is 3 sigma); 1/f est."
_BME280: Final = "Bosch, BST-BME280-DS002: tables 2-4, noise table 10; 1/f est."
_MPU: Final = "InvenSense, PS-MPU-6000A-00 rev. 3.4: sections 6.1, 6.2; 1/f est."
_ADXL345: Final = "Analog Devices, ADXL345 rev. E: table 1; 1/f est."
_IEPE: Final = "PCB Piezotronics, 352C33 specification: sensitivity, resolution, non-linearity; 1/f est."
_SPS30: Final = "Sensirion, Datasheet SPS30: table 1 (precision, drift); noise est."
_PT100: Final = "IEC 60751:2022 class A; Maxim MAX31865 (resolution, total error); self-heating 0.4 K/mW, noise est."
_MICS: Final = "SGX Sensortech, MiCS-4514 datasheet rev. 16 (ranges); calibration, drift, T and H effects est."


_celsius = partial(SensorModel, quantity="temperature", unit="Cel")
_percent = partial(SensorModel, quantity="humidity", unit="%", range_low=0.0, range_high=100.0)
_acceleration = partial(SensorModel, quantity="acceleration", unit="m/s2")

# A table: a figure a line would be five screens.
# fmt: off


def _temperatures() -> tuple[SensorModel, ...]:
    return (
        _celsius(
            part="DHT22", source=_DHT22, range_low=-40, range_high=80, span_low=0, span_high=50, resolution=0.1,
            bias_max=0.5, noise_density=0.07, flicker=0.03, response_s=10.0, hysteresis=0.05, drift_walk=0.005,
            ageing=0.1, self_heating=0.1, interval_min_s=2.0, energy_J=0.015, price_eur=4.0,
        ),
        _celsius(
            part="SHT31", source=_SHT31, range_low=-40, range_high=125, span_low=0, span_high=60, resolution=0.01,
            bias_max=0.2, gain_error_max=0.002, noise_density=0.04 / 3, flicker=0.005, response_s=2.0,
            drift_walk=0.001, ageing=0.03, self_heating=0.05, interval_min_s=0.1, energy_J=75e-6, price_eur=5.0,
        ),
        _celsius(
            part="BME280", source=_BME280, range_low=-40, range_high=85, span_low=0, span_high=65, resolution=0.01,
            bias_max=0.5, gain_error_max=0.015, noise_density=0.005, flicker=0.004, response_s=5.0, drift_walk=0.002,
            ageing=0.1, self_heating=0.6, interval_min_s=0.01, energy_J=30e-6, price_eur=4.5,
        ),
        _celsius(
            part="DS18B20",
            source="Maxim/Analog Devices, DS18B20 rev. 6: DC characteristics, fig. 17; noise, lag est.", range_low=-55,
            range_high=125, span_low=-10, span_high=85, resolution=0.0625, bias_max=0.5, nonlinearity=0.2,
            noise_density=0.03, flicker=0.01, response_s=15.0, drift_walk=0.002, ageing=0.1, self_heating=0.05,
            interval_min_s=0.75, energy_J=3.75e-3, price_eur=2.0,
        ),
        _celsius(
            part="thermocouple-K",
            source="IEC 60584-1:2013 class 1 (1.5 K); Maxim MAX31855 (2 K, 0.25 K steps); noise, lag est.",
            range_low=-200, range_high=1350, span_low=-40, span_high=375, resolution=0.25, bias_max=2.0,
            gain_error_max=0.004, nonlinearity=0.5, temperature_coefficient=0.02, noise_density=0.15, flicker=0.05,
            response_s=3.0, drift_walk=0.01, ageing=0.5, interval_min_s=0.1, energy_J=4.5e-4, price_eur=12.0,
        ),
        _celsius(
            part="PT100-A", source=_PT100, range_low=-200, range_high=600, span_low=-50, span_high=150,
            resolution=0.03125, bias_max=0.25, gain_error_max=0.002, noise_density=0.01, flicker=0.005, response_s=8.0,
            drift_walk=0.001, ageing=0.05, self_heating=0.05, interval_min_s=0.05, energy_J=2e-4, price_eur=25.0,
        ),
        _celsius(
            part="NTC-10k", source="TDK/EPCOS B57861S0103 (0.3 K at 25 degC, B 1 %); 12-bit converter, drift est.",
            range_low=-55, range_high=155, span_low=-20, span_high=80, resolution=0.05, bias_max=0.3,
            gain_error_max=0.01, nonlinearity=0.15, noise_density=0.02, flicker=0.01, response_s=12.0,
            drift_walk=0.003, ageing=0.1, self_heating=0.1, interval_min_s=0.1, energy_J=5e-5, price_eur=1.5,
        ),
    )


def _humidities() -> tuple[SensorModel, ...]:
    return (
        _percent(
            part="DHT22", source=_DHT22, span_low=10, span_high=90, resolution=0.1, bias_max=2.0, gain_error_max=0.05,
            noise_density=0.3, flicker=0.1, response_s=5.0, hysteresis=0.3, drift_walk=0.05, ageing=0.5,
            temperature_coefficient=0.03, interval_min_s=2.0, energy_J=0.015, price_eur=4.0,
        ),
        _percent(
            part="SHT31", source=_SHT31, span_low=10, span_high=90, resolution=0.01, bias_max=2.0,
            noise_density=0.08 / 3, flicker=0.02, response_s=8.0, hysteresis=0.8, drift_walk=0.01, ageing=0.25,
            temperature_coefficient=0.01, interval_min_s=0.1, energy_J=75e-6, price_eur=5.0,
        ),
        _percent(
            part="BME280", source=_BME280, span_low=10, span_high=90, resolution=0.008, bias_max=3.0,
            noise_density=0.02, flicker=0.02, response_s=1.0, hysteresis=1.0, drift_walk=0.02, ageing=0.5,
            temperature_coefficient=0.02, interval_min_s=0.01, energy_J=30e-6, price_eur=4.5,
        ),
    )


def _accelerations() -> tuple[SensorModel, ...]:
    return (
        _acceleration(
            part="MPU-6050", source=_MPU, range_low=-8 * _G, range_high=8 * _G, span_low=-2 * _G, span_high=2 * _G,
            resolution=_G / 4096,
            bias_max=0.08 * _G, gain_error_max=0.03, nonlinearity=0.005 * 2 * _G, noise_density=400e-6 * _G,
            bandwidth_hz=260.0, flicker=1e-3 * _G, temperature_coefficient=1e-3 * _G, drift_walk=2e-3 * _G,
            ageing=5e-3 * _G, interval_min_s=1e-3, energy_J=1.2e-6, price_eur=3.0,
        ),
        _acceleration(
            part="ADXL345", source=_ADXL345, range_low=-16 * _G, range_high=16 * _G, span_low=-2 * _G,
            span_high=2 * _G, resolution=0.0039 * _G,
            bias_max=0.15 * _G, gain_error_max=0.1, nonlinearity=0.005 * 2 * _G, noise_density=290e-6 * _G,
            bandwidth_hz=1600.0, flicker=1e-3 * _G, temperature_coefficient=0.8e-3 * _G, hysteresis=0.0,
            drift_walk=2e-3 * _G, ageing=5e-3 * _G, interval_min_s=1 / 3200, energy_J=1.1e-7, price_eur=4.0,
        ),
        _acceleration(
            part="PCB-352C33", source=_IEPE, range_low=-50 * _G, range_high=50 * _G, span_low=-5 * _G,
            span_high=5 * _G, resolution=0.0015 * _G,
            bias_max=0.002 * _G, gain_error_max=0.1, nonlinearity=0.005 * 2 * _G, noise_density=1.5e-6 * _G,
            bandwidth_hz=10_000.0, flicker=2e-4 * _G, temperature_coefficient=2e-5 * _G, drift_walk=1e-4 * _G,
            interval_min_s=2e-5, energy_J=2e-6, price_eur=350.0,
        ),
    )


def _vibrations() -> tuple[SensorModel, ...]:
    return (
        SensorModel(
            part="ADXL345-rms", quantity="vibration", unit="m/s2",
            source="RMS over 1 s of an ADXL345 less its mean: gain as the part's, noise floor 12 mg; est.",
            range_low=0, range_high=16 * _G, span_low=0, span_high=0.4 * _G, resolution=0.001 * _G, bias_max=0.006 * _G,
            gain_error_max=0.1, nonlinearity=0.002 * _G, temperature_coefficient=1e-4 * _G, noise_density=0.0007 * _G,
            flicker=0.0005 * _G, drift_walk=0.0005 * _G, interval_min_s=1.0, energy_J=5e-4, price_eur=4.0,
        ),
        SensorModel(
            part="reluctance-pickup", quantity="speed", unit="Hz",
            source="toothed wheel of 60, quartz counter gated 0.1 s with interpolation; no datasheet, est.",
            range_low=0, range_high=500, span_low=5, span_high=65, resolution=0.001, bias_max=0.002,
            gain_error_max=5e-5, noise_density=0.003, flicker=0.001, interval_min_s=0.1, energy_J=1e-3, price_eur=40.0,
        ),
    )


def _rates() -> tuple[SensorModel, ...]:
    degree = math.pi / 180
    return (
        SensorModel(
            part="MPU-6050", quantity="rate", unit="rad/s", source=_MPU, range_low=-500 * degree,
            range_high=500 * degree, span_low=-120 * degree, span_high=120 * degree, resolution=degree / 65.5,
            bias_max=20 * degree, gain_error_max=0.03,
            nonlinearity=0.002 * 120 * degree, noise_density=0.005 * degree, bandwidth_hz=100.0, flicker=0.02 * degree,
            temperature_coefficient=0.16 * degree, drift_walk=0.5 * degree, interval_min_s=1 / 8000, energy_J=1.5e-6,
            price_eur=3.0,
        ),
    )


def _gases() -> tuple[SensorModel, ...]:
    return (
        SensorModel(
            part="SCD30", quantity="co2", unit="[ppm]", source="Sensirion, Datasheet SCD30: table 1; 1/f est.",
            range_low=0, range_high=10_000, span_low=400, span_high=2000, resolution=1.0, bias_max=30.0,
            gain_error_max=0.03, noise_density=5.0, flicker=4.0, response_s=20.0, temperature_coefficient=2.5,
            drift_walk=1.0, ageing=25.0, interval_min_s=2.0, energy_J=0.12, price_eur=35.0,
        ),
        SensorModel(
            part="MiCS-4514", quantity="co", unit="[ppm]", source=_MICS, range_low=0, range_high=1000, span_low=0,
            span_high=20, resolution=0.01, bias_max=0.5, gain_error_max=0.3, nonlinearity=0.5, noise_density=0.05,
            flicker=0.05, response_s=60.0, hysteresis=0.05, temperature_coefficient=0.03, humidity_coefficient=0.02,
            drift_walk=0.05, ageing=2.0, interval_min_s=1.0, energy_J=0.08, price_eur=15.0,
        ),
        SensorModel(
            part="MiCS-4514", quantity="no2", unit="[ppb]", source=_MICS, range_low=0, range_high=10_000, span_low=0,
            span_high=200, resolution=0.1, bias_max=15.0, gain_error_max=0.3, nonlinearity=10.0, noise_density=2.0,
            flicker=2.0, response_s=60.0, hysteresis=2.0, temperature_coefficient=1.0, humidity_coefficient=0.5,
            drift_walk=2.0, ageing=40.0, interval_min_s=1.0, energy_J=0.08, price_eur=15.0,
        ),
        SensorModel(
            part="Alphasense-B4", quantity="no2", unit="[ppb]",
            source="Alphasense, NO2-B43F technical specification (noise 15 ppb 2 sigma, T90 < 60 s, drift); T, H est.",
            range_low=-50, range_high=20_000, span_low=0, span_high=200, resolution=0.1, bias_max=10.0,
            gain_error_max=0.1, noise_density=7.5, bandwidth_hz=0.3, flicker=1.5, response_s=25.0,
            temperature_coefficient=0.5, humidity_coefficient=0.1, drift_walk=0.7, ageing=20.0, interval_min_s=1.0,
            energy_J=0.002, price_eur=60.0,
        ),
        SensorModel(
            part="Alphasense-B4", quantity="o3", unit="[ppb]",
            source="Alphasense, OX-B431 technical specification (noise 15 ppb 2 sigma, T90 < 80 s, drift); T, H est.",
            range_low=-50, range_high=20_000, span_low=0, span_high=200, resolution=0.1, bias_max=10.0,
            gain_error_max=0.1, noise_density=7.5, bandwidth_hz=0.3, flicker=1.5, response_s=35.0,
            temperature_coefficient=0.5, humidity_coefficient=0.1, drift_walk=0.7, ageing=20.0, interval_min_s=1.0,
            energy_J=0.002, price_eur=60.0,
        ),
        SensorModel(
            part="Alphasense-B4", quantity="co", unit="[ppm]",
            source="Alphasense, CO-B4 technical specification (noise 4 ppb 2 sigma, T90 < 30 s, drift); T, H est.",
            range_low=-1, range_high=1000, span_low=0, span_high=5, resolution=0.001, bias_max=0.05,
            gain_error_max=0.1, noise_density=0.002, flicker=0.002, response_s=13.0, temperature_coefficient=0.003,
            humidity_coefficient=0.0005, drift_walk=0.002, ageing=0.1, interval_min_s=1.0, energy_J=0.002,
            price_eur=60.0,
        ),
        SensorModel(
            part="SPS30", quantity="pm2.5", unit="ug/m3", source=_SPS30, range_low=0, range_high=1000, span_low=0,
            span_high=100, resolution=0.1, bias_max=5.0, gain_error_max=0.1, noise_density=0.5, flicker=0.3,
            response_s=8.0, humidity_coefficient=0.02, drift_walk=0.05, ageing=1.25, interval_min_s=1.0,
            energy_J=0.275, price_eur=30.0,
        ),
    )


def _liquids() -> tuple[SensorModel, ...]:
    return (
        SensorModel(
            part="WIKA-A-10", quantity="pressure", unit="bar",
            source="WIKA, data sheet PE 81.60 (1 % of span, hysteresis 0.16 %, stability 0.1 %/a, 10 bar); noise est.",
            range_low=0, range_high=10, span_low=0, span_high=4, resolution=0.001, bias_max=0.05,
            gain_error_max=0.005, nonlinearity=0.05,
            hysteresis=0.008, temperature_coefficient=0.001, noise_density=0.002, flicker=0.001, response_s=0.004,
            drift_walk=0.0005, ageing=0.01, interval_min_s=0.01, energy_J=1e-3, price_eur=130.0,
        ),
        SensorModel(
            part="YF-S201", quantity="flow", unit="L/min",
            source="Sea, YF-S201 (1-30 L/min, 10 %, 450 pulses/L, read over 1 s: 0.13 L/min); the rest est.",
            range_low=0, range_high=45, span_low=1, span_high=30, resolution=0.13, bias_max=0.5, gain_error_max=0.1,
            nonlinearity=0.5, noise_density=0.1, flicker=0.05, response_s=0.5, hysteresis=0.05, drift_walk=0.02,
            ageing=0.5, interval_min_s=1.0, energy_J=0.075, price_eur=6.0,
        ),
        SensorModel(
            part="Promag-10", quantity="flow", unit="L/min",
            source="Endress+Hauser, TI Promag 10 (0.5 % of reading, 0.2 % repeatability); zero, noise est.",
            range_low=-400, range_high=400, span_low=0, span_high=200, resolution=0.01, bias_max=0.1,
            gain_error_max=0.005, noise_density=0.1, flicker=0.03, response_s=0.5, drift_walk=0.005, ageing=0.05,
            interval_min_s=0.1, energy_J=0.8, price_eur=900.0,
        ),
        SensorModel(
            part="TEROS-10", quantity="moisture", unit="m3/m3",
            source="METER Group, TEROS 10 manual (0.03 m3/m3 generic calibration, 0.001 steps); noise, T effect est.",
            range_low=0, range_high=0.64, span_low=0.0, span_high=0.5, resolution=0.001, bias_max=0.03,
            gain_error_max=0.05, noise_density=0.0005, flicker=0.0003, response_s=1.0, temperature_coefficient=0.0003,
            drift_walk=0.0005, ageing=0.005, interval_min_s=0.1, energy_J=5e-4, price_eur=130.0,
        ),
    )


def _light() -> tuple[SensorModel, ...]:
    return (
        SensorModel(
            part="BH1750", quantity="illuminance", unit="lx",
            source="ROHM, BH1750FVI rev. D (accuracy 0.96-1.44 times, 1 lx, 120 ms); noise est.", range_low=0,
            range_high=65_535, resolution=1.0, bias_max=3.0, gain_error_max=0.2, noise_density=5.0, flicker=2.0,
            response_s=0.12, ageing=300.0, interval_min_s=0.12, energy_J=7e-5, price_eur=2.5,
        ),
        SensorModel(
            part="SQ-500", quantity="par", unit="umol/m2/s",
            source="Apogee, SQ-500 manual (5 % calibration, 1 % nonlinearity, -0.11 %/K, drift 2 %/a); noise est.",
            range_low=0, range_high=4000, span_low=0, span_high=2500, resolution=0.1, bias_max=3.0,
            gain_error_max=0.05, nonlinearity=12.0, temperature_coefficient=0.5, noise_density=0.5, flicker=0.3,
            response_s=0.001, drift_walk=0.3, ageing=25.0, interval_min_s=0.01, energy_J=1e-5, price_eur=350.0,
        ),
        SensorModel(
            part="SP-110", quantity="irradiance", unit="W/m2",
            source="Apogee, SP-110 manual (5 % calibration, 1 % nonlinearity, 0.04 %/K, drift 2 %/a); noise est.",
            range_low=0, range_high=2000, span_low=0, span_high=1200, resolution=0.1, bias_max=2.0,
            gain_error_max=0.05, nonlinearity=6.0, temperature_coefficient=0.24, noise_density=0.3, flicker=0.2,
            response_s=0.001, drift_walk=0.2, ageing=12.0, interval_min_s=0.01, energy_J=1e-5, price_eur=230.0,
        ),
    )


def _others() -> tuple[SensorModel, ...]:
    return (
        SensorModel(
            part="BME280", quantity="pressure", unit="hPa", source=_BME280, range_low=300, range_high=1100,
            span_low=900, span_high=1100, resolution=0.01, bias_max=1.0, gain_error_max=0.001, noise_density=0.013,
            flicker=0.01, response_s=0.01, temperature_coefficient=0.015, drift_walk=0.01, ageing=1.0,
            interval_min_s=0.01, energy_J=30e-6, price_eur=4.5,
        ),
        SensorModel(
            part="ACS712-20A", quantity="current", unit="A",
            source="Allegro, ACS712 rev. 15 (1.5 % total error, 11 mV noise at 2 kHz, 100 mV/A); 12 bits; 1/f est.",
            range_low=-20, range_high=20, resolution=0.01, bias_max=0.3, gain_error_max=0.015, nonlinearity=0.15,
            hysteresis=0.02, temperature_coefficient=0.003, noise_density=0.0025, bandwidth_hz=2000.0, flicker=0.01,
            response_s=1e-5, drift_walk=0.01, ageing=0.05, interval_min_s=1e-4, energy_J=5e-6, price_eur=4.0,
        ),
        SensorModel(
            part="SCT-013-050", quantity="current", unit="A",
            source="YHDC, SCT-013-050 (50 A, 1 V, nonlinearity 1 %, T 100 ppm/K); phase, 12-bit converter, noise est.",
            range_low=0, range_high=60, span_low=0, span_high=50, resolution=0.02, bias_max=0.1, gain_error_max=0.02,
            nonlinearity=0.5, hysteresis=0.05, temperature_coefficient=0.005, noise_density=0.05, flicker=0.02,
            response_s=0.1, drift_walk=0.005, ageing=0.1, interval_min_s=0.02, energy_J=1e-4, price_eur=8.0,
        ),
        SensorModel(
            part="torque-load", quantity="load", unit="1",
            source="load from the drive's torque estimate, 5 % of rating, read as 0.1 %; no datasheet, est.",
            range_low=0, range_high=2, span_low=0, span_high=1.2, resolution=0.001, bias_max=0.02, gain_error_max=0.05,
            nonlinearity=0.01, temperature_coefficient=0.0003, noise_density=0.005, flicker=0.003, response_s=0.2,
            drift_walk=0.001, ageing=0.01, interval_min_s=0.01,
        ),
        SensorModel(
            part="reed-switch", quantity="state", unit="1", source="a contact: open or closed, polled, debounced",
            range_low=0, range_high=1, resolution=1.0, interval_min_s=0.01, energy_J=1e-6, price_eur=1.0,
        ),
        SensorModel(
            part="ultrasonic-level", quantity="level", unit="%",
            source="JSN-SR04T (1 cm or so, blind below 20 cm) over a tank of 2 m; temperature of sound 0.17 %/K; est.",
            range_low=0, range_high=100, resolution=0.1, bias_max=0.75, gain_error_max=0.005, noise_density=0.2,
            flicker=0.1, temperature_coefficient=0.05, response_s=0.5, drift_walk=0.05, ageing=0.5, interval_min_s=0.1,
            energy_J=2e-3, price_eur=10.0,
        ),
        SensorModel(
            part="ZMPT101B", quantity="voltage", unit="V",
            source="Qingxian, ZMPT101B (0.2 % linearity); divider 1 %, 12 bits, noise est.", range_low=0,
            range_high=500, resolution=0.1, bias_max=1.0, gain_error_max=0.01, nonlinearity=0.5, noise_density=0.3,
            flicker=0.1, response_s=0.02, drift_walk=0.02, ageing=0.5, interval_min_s=0.02, energy_J=1e-4,
            price_eur=3.0,
        ),
        SensorModel(
            part="DWM1000", quantity="range", unit="m",
            source="Decawave, DWM1000 datasheet and APS011 (10 cm, sigma about 3 cm in sight); drift est.",
            range_low=0, range_high=300, span_low=0, span_high=60, resolution=0.001, bias_max=0.1,
            gain_error_max=0.001, noise_density=0.03, flicker=0.01, temperature_coefficient=0.00215, drift_walk=0.005,
            interval_min_s=0.001, energy_J=1e-3, price_eur=20.0,
        ),
        SensorModel(
            part="DWM1001", quantity="position", unit="m",
            source="Decawave, DWM1001 (X-Y location within 10 cm in sight of four anchors, 10 Hz); noise, drift est.",
            range_low=-1000, range_high=1000, span_low=-50, span_high=50, resolution=0.01, bias_max=0.1,
            gain_error_max=0.001, noise_density=0.04, flicker=0.02, drift_walk=0.005, interval_min_s=0.1, energy_J=3e-3,
            price_eur=25.0,
        ),
        SensorModel(
            part="NEO-M8", quantity="position", unit="m", source="u-blox, NEO-M8 datasheet (2.5 m CEP); split est.",
            range_low=-math.inf, range_high=math.inf, span_low=-500, span_high=500, resolution=0.01, bias_max=2.0,
            noise_density=0.3, flicker=1.2, interval_min_s=0.1, energy_J=0.01, price_eur=15.0,
        ),
        SensorModel(
            part="encoder-600", quantity="speed", unit="m/s",
            source="wheel encoder, 600 pulses a turn on a wheel of 100 mm, counted over 0.1 s; wheel radius 1 %; est.",
            range_low=-5, range_high=5, resolution=0.005, bias_max=0.002, gain_error_max=0.01, noise_density=0.01,
            flicker=0.003, response_s=0.05, interval_min_s=0.01, energy_J=1e-4, price_eur=20.0,
        ),
    )


# fmt: on

PARTS: Final = (
    *_temperatures(),
    *_humidities(),
    *_accelerations(),
    *_vibrations(),
    *_rates(),
    *_gases(),
    *_liquids(),
    *_light(),
    *_others(),
)

CATALOGUE: Final[dict[str, SensorModel]] = {model.name: model for model in PARTS}
"""Every model by its name, "SHT31/temperature"."""

_FACTORS: Final[dict[tuple[str, str], float]] = {
    ("bar", "kPa"): 100.0,
    ("bar", "hPa"): 1000.0,
    ("bar", "Pa"): 1e5,
    ("hPa", "kPa"): 0.1,
    ("hPa", "Pa"): 100.0,
    ("[ppm]", "[ppb]"): 1000.0,
    ("[ppb]", "[ppm]"): 1e-3,
    ("L/min", "m3/h"): 0.06,
    ("L/min", "L/s"): 1 / 60,
    ("L/min", "m3/s"): 1 / 60_000,
    ("m3/m3", "%"): 100.0,
    ("m3/m3", "1"): 1.0,
    ("%", "1"): 0.01,
    ("m/s2", "[g]"): 1 / _G,
    ("m/s2", "g"): 1 / _G,
    ("rad/s", "deg/s"): 180 / math.pi,
    ("m/s2", "mm/s2"): 1000.0,
}
_SCALED: Final = (
    *("range_low", "range_high", "span_low", "span_high", "resolution", "noise_density", "flicker", "bias_max"),
    *("nonlinearity", "hysteresis", "temperature_coefficient", "humidity_coefficient", "self_heating", "drift_walk"),
    "ageing",
)


def in_unit(model: SensorModel, unit: str) -> SensorModel:
    """The same sensor, its readings in another unit.

    Raises:
        ValueError: it does not measure in that unit, nor in one that can be converted.
    """
    if unit == model.unit:
        return model
    if (model.unit, unit) not in _FACTORS:
        raise ValueError(f"{model.name} measures {model.unit}, which is not converted to {unit}")
    factor = _FACTORS[model.unit, unit]
    return replace(model, unit=unit, **{field: getattr(model, field) * factor for field in _SCALED})


def find(part: str, unit: str, measurand: str = "") -> SensorModel:
    """The model of a part, or "part/quantity", that measures in a unit.

    Args:
        part: whatever the case of its letters.
        unit: UCUM code; the model comes in it.
        measurand: where a part measures several quantities in that unit, the one whose name is in this.

    Raises:
        ValueError: there is none, or there are several; the message names them.
    """
    named = [model for model in PARTS if part.casefold() in {model.part.casefold(), model.name.casefold()}]
    fits = [in_unit(model, unit) for model in named if unit == model.unit or (model.unit, unit) in _FACTORS]
    if len(fits) > 1:
        fits = [model for model in fits if model.quantity in measurand] or fits
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise ValueError(f"{part} measures several quantities in {unit}: {', '.join(model.name for model in fits)}")
    known = ", ".join(sorted({model.name for model in PARTS}))
    raise ValueError(f"no sensor {part!r} measures in {unit}; there are {known}")
