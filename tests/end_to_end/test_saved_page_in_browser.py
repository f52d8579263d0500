"""Saved pages in a real browser: they carry what they show, need no server, and fit a phone."""

import re
import subprocess
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from torch import Tensor

from heedful.viewing.looks.opened import Opened
from heedful.viewing.saved import page
from heedful.viewing.studio import Studio
from tests.end_to_end.browser import PATIENCE, Browser
from tests.end_to_end.looking import CROSS, OTHER, SOURCE, VIEWS, drawn, pointed_at
from tests.end_to_end.page_server import HEEDFUL, Server
from tests.viewing.tiny import Tiny

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("calm")]


@pytest.fixture(scope="module")
def saved(opened: Opened, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved page of SOURCE, and of OTHER with itself as its translation."""
    path = tmp_path_factory.mktemp("saved") / "page.html"
    studio = Studio([opened])
    views = [studio.open("0", texts) for texts in ({"source": SOURCE}, {"source": OTHER, "target": OTHER})]
    made = page(studio, views, seconds=PATIENCE)
    path.write_text(made.html, encoding="utf-8")
    return path


def test_a_saved_page_compares_what_it_carries(browser: Browser, saved: Path):
    other = {"t.source": OTHER, "t.target": OTHER, "map": CROSS, "head": 1}
    state = {"view": "compare", "map": CROSS, "head": 0} | {
        f"other.{name}": value for name, value in other.items()
    }
    browser.open(f"{saved.as_uri()}#{urlencode(state)}")
    browser.find("#error", "does not carry this comparison")
    assert not browser.all(".compare-maps")
    assert not browser.text(".compare-verdict")
    left, right = (f".compare-side:{place}-of-type" for place in ("first", "last"))
    off = "return [...document.querySelectorAll(`${arguments[0]} option:disabled`)].map((one) => one.textContent)"
    assert "mean of all" in browser.run(off, right)
    assert "2" in browser.run(off, right)
    assert browser.run(off, left) == ["mean of all"]
    browser.run(
        "const [head] = [...document.querySelectorAll(`${arguments[0]} select`)].slice(-1);"
        "head.value = '1'; head.dispatchEvent(new Event('change'))",
        left,
    )
    browser.find(".compare-verdict", "bits apart")
    assert browser.all(".compare-maps")
    assert not browser.all("#error")


def test_a_saved_page_shows_the_search_of_its_text(browser: Browser, saved: Path):
    browser.open(
        f"{saved.as_uri()}#" + urlencode({"view": "lines", "step": 0, "t.source": OTHER, "t.target": OTHER})
    )
    browser.find(".given", OTHER)
    written = browser.find(".growth-source").text
    assert " ".join(written.split()).startswith(OTHER)


def test_a_saved_page_shows_how_likely_each_token_was(browser: Browser, saved: Path):
    browser.open(f"{saved.as_uri()}#view=lines")
    browser.find(".forced button", "Show the probability of each token")
    browser.click(".forced button")
    assert "%" in browser.find(".said-token").text
    browser.find(".alternatives", "The likeliest were:")
    # A text that was given is weighed without being asked.
    given = {"view": "lines", "t.source": OTHER, "t.target": OTHER}
    browser.open(f"{saved.as_uri()}#{urlencode(given)}")
    browser.find(".forced h2", "Your text, as the model sees it")
    assert "%" in browser.find(".said-token").text


def test_rollout_is_shown_where_gradients_are_missing(browser: Browser, saved: Path, tmp_path: Path):
    without = tmp_path / "page.html"
    content = re.sub(
        r"<script[^>]*attribution\?output=[3-9]\d*&[^>]*>[^<]*</script>", "", saved.read_text("utf-8")
    )
    without.write_text(content, encoding="utf-8")
    browser.open(f"{without.as_uri()}#" + urlencode({"view": "beyond", "output": 0}))
    drawn(browser, "beyond")
    title = browser.find(".beyond-rollout .note").text
    browser.click('.token-chooser [data-number="3"]')
    browser.find("#error", "does not carry gradients of this output")
    browser.wait(lambda: browser.text(".beyond-rollout .note") != title, "the rollout of the output")
    assert not browser.all(".beyond-table")
    browser.click('.token-chooser [data-number="0"]')
    drawn(browser, "beyond")
    browser.wait(lambda: browser.text(".beyond-rollout .note") == title, "the first rollout")
    assert not browser.all("#error")


@pytest.fixture
def small(tmp_path: Path) -> str:
    """The address of a saved page of a model with four heads."""
    studio, path = Studio([Tiny()]), tmp_path / "page.html"
    made = page(studio, [studio.open("0", {"text": "abcdefgW" * 5})], seconds=0.0)
    path.write_text(made.html, encoding="utf-8")
    return path.as_uri()


def test_lines_are_no_wider_than_a_phone(browser: Browser, small: str):
    browser.size(360, 780)
    browser.open(f"{small}#view=lines")
    browser.find(".links.down .line-title", "the same, looked at")
    assert browser.run("return document.documentElement.scrollWidth") <= 360


def test_few_heads_follow_the_window(browser: Browser, small: str):
    browser.open(small)
    boxes = (
        "const canvas = document.querySelector('.matrix canvas'), scroller = canvas.closest('.scroller');"
        "return [canvas.clientWidth, scroller.scrollWidth, scroller.clientWidth, document.documentElement.scrollWidth]"
    )
    browser.find(".matrix canvas")
    wide = browser.run(boxes)[0]
    browser.size(390, 844)
    browser.wait(lambda: browser.run(boxes)[0] < wide, "the narrow picture")
    canvas, whole, seen, page_ = browser.run(boxes)
    assert seen < canvas <= whole  # no column is cut off
    assert page_ <= 390
    # Slanted labels begin at their columns, also when it is drawn again.
    browser.run(
        "window.slanted = new Set(); const { prototype } = CanvasRenderingContext2D, { fillText } = prototype;"
        "prototype.fillText = function (...given) {"
        "  if (this.getTransform().b) window.slanted.add(this.textAlign);"
        "  return fillText.apply(this, given);"
        "}"
    )
    browser.click("#theme")
    assert browser.run("return [...window.slanted]") == ["left"]


def test_a_saved_page_needs_no_server(
    browser: Browser, server: Server, model: Path, repository: Path, weights: Tensor, tmp_path: Path
):
    page = tmp_path / "page.html"
    command = [*HEEDFUL, "view", str(model), "--source", SOURCE, "--save", str(page)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    server.stop()
    browser.requests()
    browser.open(f"{page.as_uri()}#" + urlencode({"view": "map", "map": CROSS, "head": 1}))
    drawn(browser, "map")
    stage = browser.find(".stage")
    browser.hover(stage, -60, -120)
    query, key, weight = pointed_at(browser)
    assert weight == pytest.approx(weights[1, query, key].item(), rel=1e-4)
    for view in VIEWS:
        browser.click(f"#tab-{view}")
        browser.wait(lambda view=view: browser.all(f"main.{view} > *"), f"the view {view}")
        browser.wait(lambda: not browser.all("#progress"), "the end of waiting")
        assert not browser.all("#error"), browser.text("#error")
    asked = {urlsplit(address).scheme for address in browser.requests()}
    assert asked <= {"file", "data", "blob", "about"}
    assert "file" in asked
