"""Events on the page: what goes wrong is marked, named, and told apart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from page_kit import told
from selenium.webdriver.common.by import By

if TYPE_CHECKING:
    from pathlib import Path

    from browser_page import FakePage

pytestmark = pytest.mark.browser

S = 10**9


def raise_event(page: FakePage, seconds_ago: float, **said: Any) -> int:
    """Store an event that began so long ago, and let the page hear of it; its name."""
    begun_ns = time.time_ns() - round(seconds_ago * S)
    page.store.put(told(begun_ns, **said))
    page.live.touch("pump-7")
    return begun_ns // 1000


def marks(page: FakePage) -> list[list[Any]]:
    """Label, beginning in ms, and opacity of each mark in the chart."""
    found: list[list[Any]] = page.run(
        "const l = document.querySelector('#chart .js-plotly-plot')?.layout; if (!l?.shapes) return [];"
        "return l.shapes.map((s, i) => [l.annotations[i].text, s.x0, s.opacity])"
    )
    return found


def test_an_event_appears_without_a_reload_and_is_named(page: FakePage) -> None:
    """What is raised while the page is open is marked in the chart and listed: whose trouble, where, and how sure."""
    page.open("/#pump-7/valve/Pressure")
    page.until_drawn()
    assert page.text("#events-none").startswith("None")
    fault = raise_event(page, 100, rows=40, phase="ended")
    page.until(lambda: page.text(".event[data-look=sensor]"))
    anomaly = raise_event(page, 20, what="process anomaly", channel="Temperature", rows=28, confidence=0.97)
    row = page.until(lambda: page.text(".event[data-look=process]"))
    assert all(word in row for word in ("Process anomaly", "Temperature", "pump-7 · valve", "0.97", "going on"))
    row = page.text(".event[data-look=sensor]")
    assert all(word in row for word in ("Sensor fault", "Pressure: step", "0.90", "29 s"))
    label, begun, strong = page.until(lambda: len(marks(page)) == 2 and marks(page))[1]
    assert (label, begun) == ("sensor · Pressure", fault / 1000)
    label, begun, weak = marks(page)[0]
    assert (label, begun) == ("process · Temperature", anomaly / 1000)
    assert strong > weak  # the charted channel's stands out
    assert "Process anomaly" in page.text("#alert")
    assert "Process anomaly" in page.text("[data-device=pump-7] .newest-event")
    assert (page.text("#sum-events"), page.text("#sum-kinds")) == ("2", "1 sensor, 1 process")
    assert page.complaints() == []


def test_a_second_look_replaces_the_first(page: FakePage) -> None:
    """The verdict shown is the last one told, and the event stands there once."""
    begun = raise_event(page, 30, confidence=0.5)
    page.open("/#pump-7/valve/Pressure")
    assert "a guess" in page.until(lambda: page.text(".event"))
    page.store.put(told(begun * 1000, what="process anomaly", phase="reviewed", rows=35, confidence=0.99))
    page.live.touch("pump-7")
    page.until(lambda: "Process anomaly" in page.text(".event"))
    assert len(page.driver.find_elements(By.CSS_SELECTOR, ".event")) == 1


def test_an_event_opens_to_the_rows_that_raised_it(page: FakePage) -> None:
    """Each input over the window with its band, where it began, its part of the score; and a way into the chart."""
    raise_event(page, 60, channel="Temperature", rows=30, phase="reviewed")
    page.open("/#pump-7/valve/Pressure")
    page.until(lambda: page.text(".event"))
    page.driver.find_element(By.CSS_SELECTOR, ".event-head").click()
    page.until(lambda: page.text(".event-trace"))
    told_of = [one.text for one in page.driver.find_elements(By.CSS_SELECTOR, ".event-trace")]
    assert ["Pressure" in told_of[0], "25 % of the score" in told_of[0]] == [True, True]
    assert ["Temperature" in told_of[1], "75 % of the score" in told_of[1]] == [True, True]
    assert (
        page.run("return document.querySelectorAll('.event-trace-line, .event-trace-band, .event-trace-begun').length")
        == 6
    )
    assert page.run("return document.querySelector('.event-trace-line').points.numberOfItems") == 30
    # The end of a long event is told without its middle, over which no line is drawn.
    begun_us = page.run("return document.querySelector('.event').dataset.event").rsplit("/", 1)[1]
    page.store.put(
        told(
            int(begun_us) * 1000 + 50 * S, channel="Temperature", phase="ended", before=0, rows=2, name_us=int(begun_us)
        )
    )
    page.live.touch("pump-7")
    lines = "return [...document.querySelectorAll('.event-trace-line')].map((l) => l.points.numberOfItems)"
    page.until(lambda: page.run(lines) == [30, 2, 30, 2])
    page.driver.find_element(By.CSS_SELECTOR, ".event-body button").click()
    page.until(lambda: page.run("return document.querySelector('#channel').value") == "Temperature")


def test_events_of_other_devices_are_a_tick_away(page: FakePage) -> None:
    """The list is the chosen device's; with a tick it is everybody's."""
    raise_event(page, 60)
    page.store.put(told(time.time_ns() - 50 * S, device="pump-8", what="process anomaly", phase="ended"))
    page.open("/#pump-7/valve/Pressure")
    page.until(lambda: page.text(".event"))
    assert "pump-8" not in page.text("#events")
    page.driver.find_element(By.ID, "events-all").click()
    page.until(lambda: "pump-8" in page.text("#events"))
    assert "S" in page.text("[data-device=pump-7] .newest-event")


def test_a_stream_of_events_is_no_stream_to_chart(page: FakePage) -> None:
    """What tells of events is listed as events, not offered as a stream of readings."""
    raise_event(page, 60)
    page.open("/#pump-7")
    page.until_drawn()
    assert page.run("return [...document.querySelector('#stream').options].map((o) => o.value)") == ["valve"]


@pytest.mark.parametrize(("width", "scheme"), [(400, "dark"), (820, "light"), (1000, "light"), (1280, "light")])
def test_events_on_a_phone_and_in_the_dark(page: FakePage, tmp_path: Path, width: int, scheme: str) -> None:
    """Nothing is cut off sideways, and both kinds stand out from the ground they are written on."""
    raise_event(page, 200, rows=60, phase="ended")
    raise_event(page, 40, what="process anomaly", channel="Temperature", rows=40)
    page.open("/#pump-7/valve/Pressure", width=width, scheme=scheme)
    page.until(lambda: len(page.driver.find_elements(By.CSS_SELECTOR, ".event")) == 2)
    page.driver.find_element(By.CSS_SELECTOR, ".event-head").click()
    page.until(lambda: page.text(".event-trace"))
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    beyond = page.run(
        "return [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1"
        " && !e.closest('.scroll') && !e.closest('svg')).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert beyond == []
    for look in ("sensor", "process"):
        assert contrast(page, f".event .what[data-look={look}]", ".panel") > 4.5
    assert page.driver.save_screenshot(str(tmp_path / f"{width}-{scheme}.png"))


def contrast(page: FakePage, text: str, ground: str) -> float:
    """WCAG 2.1 contrast ratio of a text's colour to a ground's; 4.5 is asked of small text."""
    script = "return getComputedStyle(document.querySelector('{}')).{}.match(/[0-9.]+/g).slice(0, 3).map(Number)"
    light, dark = sorted(
        (
            luminance(page.run(script.format(text, "color"))),
            luminance(page.run(script.format(ground, "backgroundColor"))),
        ),
        reverse=True,
    )
    return (light + 0.05) / (dark + 0.05)


def luminance(rgb: list[float]) -> float:
    """Relative luminance (WCAG 2.1)."""
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
