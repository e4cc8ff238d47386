"""A real Chromium, and a page served over a store in memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from page_kit import PUMP, FakeStore, lane, made_app, sampled, served
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from trueline_cloud.live import Live

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CHROMIUM = Path("/usr/bin/chromium")
CHROMEDRIVER = Path("/usr/bin/chromedriver")
WAIT_S = 60
STALE_AFTER_S = 3.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
)


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for all tests."""
    if not CHROMIUM.exists() or not CHROMEDRIVER.exists():
        pytest.skip(f"no browser: {CHROMIUM} and {CHROMEDRIVER} are wanted (apt install chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(str(CHROMEDRIVER)))
    yield browser
    browser.quit()


class Page:
    """The page in the browser, in the words of its tests."""

    def __init__(self, driver: webdriver.Chrome, store: FakeStore, live: Live, port: int) -> None:
        self.driver = driver
        self.store = store
        self.live = live
        self.origin = f"http://127.0.0.1:{port}"

    def open(self, place: str = "/", *, width: int = 1360, scheme: str = "light") -> None:
        """Open the page as if for the first time."""
        self.driver.get("about:blank")
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        metrics = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get(self.origin + place)

    def text(self, selector: str) -> str:
        """The text of the first element that fits; "" where there is none."""
        found = self.driver.find_elements(By.CSS_SELECTOR, selector)
        return found[0].text if found else ""

    def run(self, script: str) -> Any:
        """The value of a script's return."""
        return self.driver.execute_script(script)

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait until something is so, and return it."""
        return WebDriverWait(self.driver, WAIT_S, poll_frequency=0.05).until(lambda _: condition())

    def until_drawn(self) -> int:
        """Wait for the chart, and return how many steps it shows."""
        return int(self.until(lambda: self.run("return document.querySelector('#chart [data-steps]')?.dataset.steps")))

    def complaints(self) -> list[str]:
        """What the browser's console says, but for its advice."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["source"] != "recommendation"]


@pytest.fixture
def page(driver: webdriver.Chrome) -> Iterator[Page]:
    """A page over three devices: one well, one that lost rows, one with rows on their way."""
    store, live = FakeStore(), Live()
    store.put(sampled(PUMP, time.time_ns() - 600 * 10**9, 600))
    store.account(lane("pump-7", "event"))
    store.account(lane("kiln-1", rows_stored=12031, missing_by_reason={"dropped": 1200, "corrupt": 3}))
    store.account(lane("greenhouse-12", rows_stored=500, rows_pending=60))
    with served(made_app(store, live, stale_after_s=STALE_AFTER_S, silent_after_s=STALE_AFTER_S), live) as port:
        yield Page(driver, store, live, port)
        driver.get("about:blank")


@pytest.fixture
def bare_page(driver: webdriver.Chrome) -> Iterator[Page]:
    """A page over a store that has heard of nobody."""
    store, live = FakeStore(), Live()
    with served(made_app(store, live), live) as port:
        yield Page(driver, store, live, port)
        driver.get("about:blank")
