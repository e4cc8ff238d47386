from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from browser_page import Page

from trueline_sim.processes import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium import webdriver

pytestmark = pytest.mark.browser

STREAM = {
    "name": "pump",
    "source": {"type": "simulated", "rate_hz": 10.0, "seed": 1},
    "channel": [
        {
            "name": "pressure",
            "unit": "bar",
            "u": 0.02,
            "signal": {"kind": "sine", "mean": 4.0, "amplitude": 0.5, "period_s": 20.0, "noise": 0.02},
        }
    ],
    "stage": [{"type": "missing"}],
}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path, broker=None, link="coap") as site:
        site.start()
        yield site


def test_a_real_agent_is_seen_live_and_seen_to_die(driver: webdriver.Chrome, site: Site) -> None:
    """A reading sampled by the agent comes through the real service onto the open page; killed, it goes stale."""
    agent = site.add_agent("pump-1", [STREAM])
    page = Page(driver, site.cloud.url.rstrip("/"))
    page.open()
    page.until(lambda: page.text("#empty"))
    agent.start()
    page.until(lambda: "complete" in page.text("[data-device=pump-1] .verdict"))
    page.until(lambda: page.text("#flow") == "live")
    page.until(lambda: page.until_drawn() > 0)
    page.until(lambda: page.text("#latest").startswith(("3.", "4.")))
    assert page.text("#latest-u") == "± 0.039"
    before = page.until_drawn()
    page.until(lambda: page.until_drawn() > before)
    agent.kill()
    page.until(lambda: page.text("#flow").startswith("stale since"))
    assert page.complaints() == []
