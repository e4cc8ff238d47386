"""A real Chromium, and a page served over a store in memory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser_page import FakePage
from page_kit import PUMP, FakeStore, lane, made_app, sampled, served
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from trueline_cloud.live import Live

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUM = Path("/usr/bin/chromium")
CHROMEDRIVER = Path("/usr/bin/chromedriver")
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


@pytest.fixture
def page(driver: webdriver.Chrome) -> Iterator[FakePage]:
    """A page over three devices: one well, one that lost rows, one with rows on their way."""
    store, live = FakeStore(), Live()
    store.put(sampled(PUMP, time.time_ns() - 600 * 10**9, 600))
    store.account(lane("pump-7", "event"))
    store.account(lane("kiln-1", rows_stored=12031, missing_by_reason={"dropped": 1200, "corrupt": 3}))
    store.account(lane("greenhouse-12", rows_stored=500, rows_pending=60))
    with served(made_app(store, live, stale_after_s=STALE_AFTER_S, silent_after_s=STALE_AFTER_S), live) as port:
        yield FakePage(driver, f"http://127.0.0.1:{port}", store, live)
        driver.get("about:blank")


@pytest.fixture
def bare_page(driver: webdriver.Chrome) -> Iterator[FakePage]:
    """A page over a store that has heard of nobody."""
    store, live = FakeStore(), Live()
    with served(made_app(store, live), live) as port:
        yield FakePage(driver, f"http://127.0.0.1:{port}", store, live)
        driver.get("about:blank")
