"""The page in a browser, in the words of its tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Callable

    from page_kit import FakeStore
    from selenium import webdriver

    from trueline_cloud.live import Live

WAIT_S = 60


class Page:
    """The page in the browser, in the words of its tests."""

    def __init__(self, driver: webdriver.Chrome, origin: str) -> None:
        self.driver = driver
        self.origin = origin

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


class FakePage(Page):
    """The page over a store in memory, which a test fills."""

    def __init__(self, driver: webdriver.Chrome, origin: str, store: FakeStore, live: Live) -> None:
        super().__init__(driver, origin)
        self.store = store
        self.live = live
