from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from page_kit import PUMP, lane, made_app, sampled, served
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from trueline_cloud.live import Live
from trueline_wire.readings import Flag, Reason

if TYPE_CHECKING:
    from pathlib import Path

    from browser_page import FakePage, Page

pytestmark = pytest.mark.browser

# The colour a selector's text has on the page, as three numbers.
COLOUR = "return getComputedStyle(document.querySelector('{}')).{}.match(/[0-9.]+/g).slice(0, 3).map(Number)"


def is_red(page: Page, selector: str) -> bool:
    """Whether a text is drawn in red, in either scheme."""
    red, green, blue = page.run(COLOUR.format(selector, "color"))
    return red > 1.3 * green and red > 1.3 * blue


def brightness(page: Page, selector: str, what: str) -> float:
    """How bright a colour is, 0 to 255."""
    return sum(page.run(COLOUR.format(selector, what))) / 3


def test_the_page_loads_without_a_complaint(page: FakePage) -> None:
    """The page loads, draws and listens without one word in the browser's console."""
    page.open("/#pump-7")
    page.until_drawn()
    page.until(lambda: page.text("#link") == "live")
    assert page.complaints() == []


def test_no_request_leaves_the_origin(page: FakePage) -> None:
    """Everything the page asks for, it asks of the service it came from."""
    page.open("/#pump-7")
    page.until_drawn()
    asked = [
        entry["params"]["request"]["url"]
        for entry in (json.loads(line["message"])["message"] for line in page.driver.get_log("performance"))
        if entry["method"] == "Network.requestWillBeSent"
    ]
    assert any(url.endswith("/assets/plotly.js") for url in asked)
    assert [url for url in asked if not url.startswith((page.origin, "about:", "data:", "blob:"))] == []


def test_the_fleet_shows_each_verdict_in_words_and_colour(page: FakePage) -> None:
    """Each device stands there with its lanes' verdicts, and what is missing is red and says how many and why."""
    page.open()
    page.until(lambda: page.text("[data-device=kiln-1] .why"))
    assert "missing" in page.text("[data-device=kiln-1] .verdict")
    assert page.text("[data-device=kiln-1] .why") == "1\u202f203 missing: 1\u202f200 dropped, 3 corrupt"
    assert is_red(page, "[data-device=kiln-1] .why")
    assert is_red(page, "[data-device=kiln-1] .verdict")
    assert "complete" in page.text("[data-device=pump-7] [data-lane=data] .verdict")
    assert not is_red(page, "[data-device=pump-7] .verdict")
    assert "60 pending" in page.text("[data-device=greenhouse-12] .counts")
    assert page.text("#sum-missing") == "1\u202f203"


def test_the_ledger_of_a_device_adds_up_in_words(page: FakePage) -> None:
    """The chosen device's ledger names what is stored, what is missing, and each reason."""
    page.open("/#kiln-1")
    ledger = page.until(lambda: page.text("#lanes [data-lane=data]"))
    assert "1\u202f203 rows will not come." in ledger
    assert "12\u202f031" in ledger
    assert "dropped" in ledger
    assert "corrupt" in ledger
    assert is_red(page, "#lanes .bad dd")


def test_the_chart_draws_its_band_from_the_uncertainty(page: FakePage) -> None:
    """The chart draws the mean of each step, and 95 % of readings as mean ± 1.96 u."""
    page.open("/#pump-7/valve/Pressure")
    assert page.until_drawn() > 100
    band, mean = page.run(
        "const d = document.querySelector('.js-plotly-plot').data;"
        "return [[d[1].fill, Math.max(...d[1].y), Math.min(...d[1].y)], [Math.max(...d[2].y), Math.min(...d[2].y)]]"
    )
    assert band[0] == "toself"
    assert band[1] == pytest.approx(mean[0] + 1.96 * 0.05, rel=1e-6)
    assert band[2] == pytest.approx(mean[1] - 1.96 * 0.05, rel=1e-6)
    assert page.run("return document.querySelectorAll('#chart .scatterlayer path').length") >= 3


def test_an_unknown_uncertainty_draws_no_band(page: FakePage) -> None:
    """Negative control of the band: where u is unknown none is drawn, and the legend says so."""
    readings = sampled(PUMP, time.time_ns() - 600 * 10**9, 600)
    page.store.batches["pump-7", "valve"] = [type(readings).raw(PUMP, readings.time_ns, readings.value)]
    page.open("/#pump-7")
    page.until_drawn()
    assert page.run("return document.querySelector('.js-plotly-plot').data[1].y.length") == 0
    assert "unknown" in page.text("#legend-band")


def test_a_pushed_reading_appears_without_a_reload(page: FakePage) -> None:
    """What is committed while the page is open appears on it by itself, as a value with its interval, and as live."""
    page.open("/#pump-7/valve/Pressure")
    page.until_drawn()
    page.until(lambda: len(page.live) >= 2)
    assert page.text("#flow") == "not live: last stored step"
    fresh = sampled(PUMP, time.time_ns(), 1)
    page.store.put(fresh)
    page.live.publish("pump-7", fresh)
    page.until(lambda: page.text("#flow") == "live")
    shown = f"{fresh.value[0, 0]:.3f}".replace("-", "\u2212")
    assert page.text("#latest") == shown
    assert page.text("#latest-u") == "± 0.098"
    page.until(lambda: page.text("[data-device=pump-7] .counts b") == "601")
    assert page.complaints() == []


def test_flagged_steps_are_marked(page: FakePage) -> None:
    """Suspect and failed steps are marked in their colours, and a failed reading is never shown as a value."""
    readings = sampled(PUMP, time.time_ns() - 600 * 10**9, 600)
    row = np.arange(600)[:, None] * np.ones(2)
    flagged = readings.flagged(row < 50, Flag.SUSPECT, Reason.SPIKE).flagged(row >= 550, Flag.FAIL, Reason.GROSS_RANGE)
    page.store.batches["pump-7", "valve"] = [flagged]
    page.open("/#pump-7")
    page.until_drawn()
    suspect, gone = page.run(
        "const d = document.querySelector('.js-plotly-plot').data; return [d[3].x.length, d[5].x.length]"
    )
    assert suspect > 10
    assert gone > 10
    assert page.text("#latest") == "failed"
    assert page.text("#latest-u") == ""
    assert is_red(page, "#latest")


def test_a_dead_device_goes_stale(page: FakePage) -> None:
    """A device that stops speaking is said to be stale since when, and its last value is no longer shown as live."""
    page.open("/#pump-7")
    page.until_drawn()
    page.until(lambda: len(page.live) >= 2)
    page.live.publish("pump-7", sampled(PUMP, time.time_ns(), 1))
    page.until(lambda: page.text("#flow") == "live")
    weight = page.run("return getComputedStyle(document.querySelector('#latest')).fontWeight")
    page.until(lambda: page.text("#flow").startswith("stale since"))
    assert page.run("return document.querySelector('#readout').dataset.state") == "stale"
    assert page.run("return getComputedStyle(document.querySelector('#latest')).fontWeight") < weight
    page.until(lambda: page.text("[data-device=pump-7] .state").startswith("silent"))
    assert page.text("#device-state").startswith("silent")


def test_a_broken_line_is_said_and_mends_itself(page: FakePage) -> None:
    """When the service goes away everything is marked stale; when it comes back the page goes on by itself."""
    live = Live()
    with served(made_app(page.store, live), live) as port:
        page.origin = f"http://127.0.0.1:{port}"
        page.open("/#pump-7")
        page.until_drawn()
    page.until(lambda: page.text("#link").startswith("stale since"))
    page.until(lambda: page.text("#flow").startswith("stale since"))
    page.store.account(lane("late-1", rows_stored=1))
    live = Live()
    with served(made_app(page.store, live), live, port):
        page.until(lambda: page.text("#link") == "live")
        page.until(lambda: page.text("[data-device=late-1] .counts"))


def test_nobody_yet_says_what_to_do(bare_page: FakePage) -> None:
    """Before the first device the page says how to connect one, and shows it as soon as it speaks."""
    bare_page.open()
    assert "trueline-cloud enroll" in bare_page.until(lambda: bare_page.text("#empty"))
    bare_page.store.put(sampled(PUMP, time.time_ns() - 10**10, 10))
    bare_page.live.touch("pump-7")
    bare_page.until(lambda: bare_page.text("[data-device=pump-7] .counts"))
    assert bare_page.text("#empty") == ""
    bare_page.until_drawn()
    assert bare_page.complaints() == []


@pytest.mark.parametrize("width", [400, 800, 1360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_and_dark(page: FakePage, tmp_path: Path, width: int, scheme: str) -> None:
    """At 400 px nothing is cut off sideways, and each scheme has dark on light or light on dark throughout."""
    page.open("/#kiln-1", width=width, scheme=scheme)
    page.until(lambda: page.text("#lanes [data-lane=data]"))
    page.open("/#pump-7", width=width, scheme=scheme)
    page.until_drawn()
    page.driver.find_element(By.CSS_SELECTOR, "#table-box summary").click()
    page.until(lambda: page.text("#table tbody tr"))
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    beyond = page.run(
        "return [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1"
        " && !e.closest('.scroll') && !e.closest('svg')).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert beyond == []
    ink, ground = brightness(page, "#device-title", "color"), brightness(page, ".panel", "backgroundColor")
    assert (ink < 80 and ground > 200) if scheme == "light" else (ink > 180 and ground < 60)
    assert page.driver.save_screenshot(str(tmp_path / f"{width}-{scheme}.png"))


def test_the_keyboard_reaches_a_device(page: FakePage) -> None:
    """A device can be found and chosen without a mouse, and every control has a name."""
    page.open("/#pump-7")
    page.until_drawn()
    page.driver.find_element(By.ID, "find").send_keys("kiln")
    page.until(lambda: not page.driver.find_element(By.CSS_SELECTOR, "[data-device=pump-7]").is_displayed())
    link = page.driver.find_element(By.CSS_SELECTOR, "[data-device=kiln-1] a")
    link.send_keys(Keys.ENTER)
    page.until(lambda: page.text("#device-title") == "kiln-1")
    nameless = page.run(
        "return [...document.querySelectorAll('input, select, button, a')]"
        ".filter((e) => !(e.labels?.length || e.textContent.trim() || e.ariaLabel)).map((e) => e.outerHTML)"
    )
    assert nameless == []


def test_the_token_is_asked_for_and_the_page_opens(page: FakePage) -> None:
    """With a token the browser gets a form, and with the right word the page, without a complaint."""
    live = Live()
    with served(made_app(page.store, live, token="open sesame"), live) as port:  # noqa: S106 - of this test
        page.origin = f"http://127.0.0.1:{port}"
        page.open()
        page.driver.find_element(By.ID, "token").send_keys("open sesame", Keys.ENTER)
        page.until(lambda: page.text("[data-device=kiln-1] .why"))
        page.driver.find_element(By.LINK_TEXT, "pump-7").click()
        page.until_drawn()
        assert page.run("return location.search + document.cookie") == ""
        page.driver.get("about:blank")
    assert page.complaints() == []
