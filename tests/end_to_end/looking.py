"""What the tests of the page look at, and what they wait for and read there."""

import re
from urllib.parse import parse_qs, urlsplit

from tests.end_to_end.browser import Browser

SOURCE = "red blue green gold grey"
OTHER = "pink blue green gold white"
CROSS = "decoder.layers.1.cross_attention"
VIEWS = ("overview", "map", "lines", "arithmetic", "compare", "beyond", "alignment")


def drawn(browser: Browser, view: str) -> None:
    """Wait for the numbers of a view."""
    parts = {
        "overview": ".stand-out",
        "map": ".stage[aria-busy=false]",
        "lines": ".links path",
        "arithmetic": ".row.key",
        "compare": ".compare-verdict",
        "beyond": ".beyond-table",
        "alignment": "table.correlations",
    }
    browser.wait(lambda: browser.all(f"main.{view} {parts[view]}"), f"the view {view}")
    browser.wait(lambda: not browser.all("#progress"), "the end of waiting")


def hold_up(browser: Browser, what: str) -> None:
    """Have requests whose addresses have this in them wait until `window.letGo()` is called."""
    browser.run(
        "const [what] = arguments, { fetch } = window, waiting = new Promise((go) => (window.letGo = go));"
        "window.fetch = async (address, ...more) => {"
        "  if (String(address).includes(what)) await waiting;"
        "  return fetch(address, ...more);"
        "}",
        what,
    )


def in_address(browser: Browser, name: str) -> str | None:
    return parse_qs(urlsplit(browser.address).fragment).get(name, [None])[0]


def pointed_at(browser: Browser) -> tuple[int, int, float]:
    """Give query, key and weight out of "0 red → 4 grey / 0.873  (0.87301234)" in the tooltip."""
    said = browser.wait(
        lambda: "→" in browser.text(".tooltip") and browser.text(".tooltip"), "a weight in the tooltip"
    )
    place, value = said.split("\n", 1)
    query, key = (int(side.split()[0]) for side in place.split(" → "))
    return query, key, float(re.findall(r"[\d.]+(?:e-\d+)?", value)[-1])
