"""How soon a page is there. `make browser` runs this file alone: tests beside it would take the machine's time."""

import os
from typing import Any

import pytest
from test_browser import ALL, Visit, address, browser, pytestmark  # noqa: F401 (fixtures)

SLOWER = 4  # times, as on a phone
PAINTED = 1.5  # seconds until the largest thing that is seen at first
TRIES = 6  # a machine that does something else is slow for another reason: the quickest of these counts
BUSY = 1.5  # processes for each core that wait for it or have it: beyond that, a page that is late says nothing
LARGEST = """() => { window.painted = 0; new PerformanceObserver(list => {
    for (const entry of list.getEntries()) window.painted = entry.startTime / 1000;
}).observe({ type: 'largest-contentful-paint', buffered: true }); }"""


@pytest.mark.parametrize("name", ALL)
def test_the_largest_paint_is_soon_on_a_slow_machine(browser: Any, address: str, name: str) -> None:  # noqa: F811
    took = []
    for _ in range(TRIES):
        slow = Visit(browser, address)
        session = slow.context.new_cdp_session(slow.page)
        session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
        slow.page.add_init_script(f"({LARGEST})()")
        slow.page.goto(f"{address}/{name}.html", wait_until="domcontentloaded")
        slow.page.wait_for_timeout(500)
        took.append(slow.page.evaluate("() => window.painted"))
        slow.context.close()
        if 0 < took[-1] < PAINTED:
            return
    if (load := os.getloadavg()[0]) > BUSY * (os.cpu_count() or 1):
        pytest.skip(f"the machine is too busy to tell: load {load:.0f}, {took} s")
    raise AssertionError(f"{name}: {took} s")
