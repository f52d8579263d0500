"""The page in a real browser, on a model trained a moment before: what a user does, and the numbers that he reads."""

import os
import random
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from torch import Tensor

from heedful.viewing.comparison import Compared, compare
from heedful.viewing.looking import open_model
from heedful.viewing.looks.opened import Opened
from heedful.viewing.scene import Scene
from tests.end_to_end.browser import PATIENCE, Browser
from tests.end_to_end.page_server import HEEDFUL, HOSTILE, SCRIPTS, Server
from tests.viewing.unpacked import unpack

pytestmark = pytest.mark.slow

WORDS = ("red", "blue", "green", "gold", "grey", "pink", "black", "white", "שלום", "日本", "🙂")
SOURCE = "red blue green gold grey"
OTHER = "pink blue green gold white"
CROSS = "decoder.layers.1.cross_attention"
VIEWS = ("overview", "map", "lines", "arithmetic", "compare", "beyond", "alignment")
RECIPE = """
metrics = ["exact-match"]
data.train.pairs = "train.tsv"
data.validation.pairs = "validation.tsv"
data.batches = {tokens = 1024, maximum_length = 30}
tokenizer = {kind = "symbols", vocabulary_size = 40, min_frequency = 1}
model = {d_model = 32, d_ff = 64, heads = 2, encoder_layers = 2, decoder_layers = 2, dropout = 0.0, maximum_length = 32}
search.beam = 2

[training]
steps = 200
schedule = {kind = "inverse-sqrt", rate = 0.005, warmup = 30}
validate_every = 200
metric = "chrf"
threads = 1
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def model(browser: Browser, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Transformer that turns sequences round; after the browser, so that nothing is trained for a skipped test."""
    folder = tmp_path_factory.mktemp("page")
    chosen = random.Random(0)
    for name, count in (("train", 1500), ("validation", 40)):
        rows = [[chosen.choice(WORDS) for _ in range(chosen.randint(2, 7))] for _ in range(count)]
        lines = "".join(f"{' '.join(row)}\t{' '.join(reversed(row))}\n" for row in rows)
        (folder / f"{name}.tsv").write_text(lines, encoding="utf-8")
    (folder / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    command = [*HEEDFUL, "train", "recipe.toml", "--run", "run", "--quiet"]
    environment = os.environ | {"PYTHONPATH": str(repository)}
    subprocess.run(command, cwd=folder, env=environment, check=True, timeout=10 * PATIENCE)
    return folder / "run"


@pytest.fixture(scope="module")
def opened(model: Path) -> Opened:
    return open_model(model, "cpu")


@pytest.fixture(scope="module")
def scene(opened: Opened) -> Scene:
    """What the page shows of SOURCE, as Python has it."""
    return opened.look({"source": SOURCE})


@pytest.fixture(scope="module")
def weights(scene: Scene) -> Tensor:
    """Of CROSS: (heads, queries, keys)."""
    return next(one for one in scene.maps if one.name == CROSS).record.weights()[0]


@pytest.fixture(scope="module")
def one_server(model: Path, repository: Path) -> Iterator[Server]:
    server = Server(model, repository)
    yield server
    server.stop()


@pytest.fixture
def server(one_server: Server) -> Server:
    return one_server.start()


@pytest.fixture(autouse=True)
def _calm(browser: Browser) -> Iterator[None]:
    """Every test has a wide light window, and leaves no alert and no error in the console."""
    browser.size(1280, 800)
    browser.theme("light")
    browser.errors()
    yield
    assert browser.alert() is None
    assert browser.errors() == []


@pytest.fixture
def show(browser: Browser, server: Server) -> Callable[..., None]:
    """Open a view of SOURCE as an address has it, and wait until it is drawn."""

    def shown(view: str, **state: Any) -> None:
        browser.open(server.address + "#" + urlencode({"view": view, "t.source": SOURCE, **state}))
        drawn(browser, view)

    return shown


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


def test_a_text_is_typed_and_its_translation_read(browser: Browser, server: Server, scene: Scene):
    browser.open(server.address)
    browser.find(".invitation", "Type a text")
    browser.type("textarea[name=source]", SOURCE)
    browser.click("button.look")
    browser.find("#answer .said", scene.answer)
    drawn(browser, "overview")
    assert len(browser.all("button.head")) == sum(one.heads for one in scene.maps)
    assert in_address(browser, "t.source") == SOURCE


def test_a_text_that_is_missing_is_asked_for(browser: Browser, server: Server):
    browser.open(server.address)
    browser.find(".invitation", "Type a text")
    browser.type("textarea[name=source]", "   ")
    browser.click("button.look")
    field = browser.find("textarea[name=source]")
    browser.wait(lambda: field.get_attribute("placeholder") == "type a text first", "what is missing")
    assert field.get_attribute("value") == ""


def test_a_head_is_picked_by_click(browser: Browser, show: Callable[..., None], scene: Scene):
    show("overview")
    number = [one.name for one in scene.maps].index(CROSS)
    browser.click(f'[data-head="{number}.1"]')
    drawn(browser, "map")
    assert (in_address(browser, "map"), in_address(browser, "head")) == (CROSS, "1")
    browser.driver.back()
    drawn(browser, "overview")


def test_a_head_is_picked_by_keyboard(browser: Browser, show: Callable[..., None], scene: Scene):
    show("overview")
    browser.press("1", "TAB")  # the views have numbers
    for _ in range(40):
        if browser.run("return document.activeElement.matches('.head')"):
            break
        browser.press("TAB")
    browser.press("ARROW_RIGHT", "ENTER")
    drawn(browser, "map")
    assert (in_address(browser, "map"), in_address(browser, "head")) == (scene.maps[0].name, "1")
    browser.press("]")
    browser.wait(lambda: in_address(browser, "map") == scene.maps[1].name, "the first head of the next layer")


def test_keys_go_nearer_and_farther_wherever_the_focus_is(browser: Browser, show: Callable[..., None]):
    show("map", map=CROSS, head=1)
    browser.press("2")  # on no control
    browser.press("+")
    browser.wait(lambda: in_address(browser, "zoom"), "the zoom in the address")
    browser.press("0")
    browser.wait(lambda: in_address(browser, "zoom") is None, "the whole map")


def test_a_weight_that_is_zoomed_to_is_that_of_the_record(
    browser: Browser, show: Callable[..., None], weights: Tensor
):
    show("map", map=CROSS, head=1)
    stage = browser.find(".stage")
    browser.wheel(stage, 3, -60, -120)
    browser.wait(lambda: in_address(browser, "zoom"), "the zoom in the address")
    seen = set()
    for x, y in ((-60, -120), (-180, -60), (40, 60)):
        browser.hover(stage, x, y)
        query, key, weight = pointed_at(browser)
        assert weight == pytest.approx(weights[1, query, key].item(), rel=1e-6)
        seen.add((query, key))
    assert len(seen) == 3
    browser.click_at(stage, -60, -120)
    browser.wait(lambda: in_address(browser, "query"), "the query in the address")
    query = int(in_address(browser, "query") or -1)
    assert (query, int(in_address(browser, "key") or -1)) in seen
    # The same by keyboard, and the row of numbers follows.
    browser.press("ARROW_DOWN")
    browser.wait(lambda: in_address(browser, "query") == str(query + 1), "the next query")
    browser.find(".row-table h3", f"query {query + 1}")
    expected = dict(enumerate(weights[1, query + 1].tolist()))

    def told() -> dict[int, float]:
        rows = [row.text.split() for row in browser.all(".row-table tr")]
        return {int(row[0]): float(row[-1].replace("−", "-")) for row in rows}

    browser.wait(lambda: told() == pytest.approx(expected, rel=0.05, abs=5e-4), "the weights of the row")


def test_lines_have_the_fewest_links_with_that_much(
    browser: Browser, show: Callable[..., None], weights: Tensor
):
    show("lines", map=CROSS, head=1, p=0.8)
    for query, row in enumerate(weights[1]):
        browser.hover(browser.all(".line.queries button")[query])
        browser.wait(lambda row=row: numbers_beside(browser), "the numbers of a token")
        values, places = row.sort(descending=True)
        count = int((values.cumsum(0) < 0.8).sum()) + 1
        expected = {int(key): float(row[key]) for key in places[:count]}
        assert numbers_beside(browser) == pytest.approx(expected, rel=0.05, abs=5e-4)


def numbers_beside(browser: Browser) -> dict[int, float]:
    told = [one.text.split("\n") for one in browser.all(".line.keys button")]
    return {key: float(text[-1].replace("−", "-")) for key, text in enumerate(told) if len(text) > 1}


def test_arithmetic_ends_with_the_weights(browser: Browser, show: Callable[..., None], weights: Tensor):
    show("arithmetic", map=CROSS, head=1, query=2)
    shares = [row.find_element("css selector", ".percent").text for row in browser.all(".row.key")]
    for share, weight in zip(shares, weights[1, 2].tolist(), strict=True):
        if share.startswith("<"):
            assert weight < 0.0006
        else:
            assert float(share.rstrip(" %")) == pytest.approx(100 * weight, abs=0.051)
    sums = [float(one.text.replace("−", "-")) for one in browser.all(".row.key .cell.exp .number")]
    assert [one / sum(sums) for one in sums] == pytest.approx(weights[1, 2].tolist(), abs=0.02)
    browser.press("n", "n")
    browser.find(".stage-words", "2 of ")


def test_a_shared_address_shows_the_same(browser: Browser, show: Callable[..., None]):
    show("map", map=CROSS, head=1, query=1, key=2)
    browser.wheel(browser.find(".stage"), 2, -60, -120)
    browser.wait(lambda: in_address(browser, "zoom"), "the zoom in the address")
    browser.find(".row-table tr")
    first = browser.driver.current_window_handle
    address = browser.address

    def seen() -> tuple[str, list[str]]:
        return browser.text("main"), browser.run(
            "return [...document.querySelectorAll('.stage canvas')].map((one) => one.toDataURL())"
        )

    browser.hover(browser.find("h3", "query"))
    before = seen()
    try:
        browser.driver.switch_to.new_window("window")
        browser.size(1280, 800)
        browser.open(address)
        drawn(browser, "map")
        browser.wait(lambda: seen() == before, "the same text and the same pixels")
        assert browser.address == address
        browser.driver.close()
    finally:
        browser.driver.switch_to.window(first)


def test_an_address_that_means_nothing_is_no_error(browser: Browser, show: Callable[..., None]):
    show("map", map=CROSS, query=-1, key=1.5, channel="foo", zoom="-3")
    assert not browser.all("#error")
    browser.find(".row-table h3", "Weights")


def test_a_step_of_the_arithmetic_is_in_the_address(browser: Browser, show: Callable[..., None]):
    show("arithmetic", map=CROSS, head=1, query=2, stage=1)
    browser.find(".stage-words", "2 of ")
    browser.press("n")
    browser.wait(lambda: in_address(browser, "stage") == "2", "the next step in the address")


def test_what_is_typed_and_not_sent_stays(browser: Browser, show: Callable[..., None]):
    show("overview")
    browser.type("textarea[name=source]", OTHER)
    browser.click("#theme")
    browser.click("#tab-map")
    drawn(browser, "map")
    assert browser.run("return document.querySelector('textarea[name=source]').value") == OTHER


def test_the_tokens_of_beyond_are_gone_through_by_keyboard(browser: Browser, show: Callable[..., None]):
    show("beyond", output=0)
    browser.run("document.querySelector('.token-chooser [aria-selected=true]').focus()")
    browser.press("ARROW_RIGHT", "ARROW_RIGHT")
    assert browser.run("return document.activeElement.dataset.number") == "2"
    browser.wait(lambda: in_address(browser, "output") == "2", "the output in the address")


def test_two_texts_are_compared(browser: Browser, show: Callable[..., None], scene: Scene, opened: Opened):
    show("compare", map=CROSS, head=1)
    browser.type(".compare-side textarea[name=source]", OTHER)
    browser.press("ENTER")
    browser.wait(lambda: in_address(browser, "other.t.source") == OTHER, "the other text in the address")
    number = [one.name for one in scene.maps].index(CROSS)
    other = opened.look({"source": OTHER})
    # The right side begins with the next head.
    right = int(in_address(browser, "other.head") or 0)
    told, _ = unpack(compare(Compared(scene, number, 1), Compared(other, number, right)))
    browser.find(".compare-verdict", f"{told['summary']['divergence']:.2f} bits apart")
    browser.find(".compare-curve h3", "How words move")


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


@pytest.mark.parametrize("kind", ["served", "saved"])
def test_tokens_that_want_to_be_scripts_stay_text(
    browser: Browser, repository: Path, tmp_path: Path, kind: str
):
    state = {"t.text": "abcdefgh", "view": "overview"}
    server = Server(tmp_path, repository, HOSTILE)
    try:
        if kind == "served":
            address = server.start().address + "#" + urlencode(state)
        else:
            page = tmp_path / "page.html"
            command = [*HOSTILE, "view", "model", "--text", state["t.text"], "--save", str(page)]
            subprocess.run(command, cwd=repository, check=True, capture_output=True)
            address = page.as_uri()
        browser.open(address)
        for view in VIEWS:
            browser.click(f"#tab-{view}")
            browser.wait(lambda view=view: browser.all(f"main.{view} > *"), f"the view {view}")
            browser.wait(lambda: not browser.all("#progress"), "the end of waiting")
            assert browser.alert() is None
            assert browser.run("return document.querySelectorAll('img, main script, [onfocus]').length") == 0
        browser.click("#tab-lines")
        written = [one.text for one in browser.wait(lambda: browser.all(".line.queries button"), "tokens")]
        assert written[: len(SCRIPTS)] == list(SCRIPTS)
    finally:
        server.stop()


def test_a_server_begun_again_is_asked_again(browser: Browser, server: Server, show: Callable[..., None]):
    show("map", map=CROSS, head=0)
    server.stop()
    browser.press("]")
    browser.find("#error", "Is `heedful view` still running?")
    browser.errors()  # that nothing answered stands in the console
    server.start()
    browser.press("[")
    browser.click("#tab-lines")
    drawn(browser, "lines")
    browser.wait(lambda: not browser.all("#error"), "no error")
    browser.errors()  # and that the scene was forgotten: 404


def test_a_mistake_is_a_sentence_in_its_place(browser: Browser, show: Callable[..., None]):
    show("overview")
    browser.type("textarea[name=source]", "red " * 60)
    browser.press("ENTER")
    browser.find("#error", "The source has 61 tokens, but the model takes at most 31")
    assert not browser.all("main > *")
    assert "400" in "".join(browser.errors())
    browser.type("textarea[name=source]", "white black")
    browser.press("ENTER")
    drawn(browser, "overview")
    assert not browser.all("#error")


def test_dark_follows_the_system_and_the_button(browser: Browser, show: Callable[..., None]):
    browser.theme("dark")
    show("map", map=CROSS)
    ground = "return getComputedStyle(document.documentElement).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    assert max(browser.run(ground)) < 60
    browser.click("#theme")
    browser.wait(lambda: min(browser.run(ground)) > 200, "the light theme")
    browser.wait(lambda: in_address(browser, "theme") == "light", "the theme in the address")


@pytest.mark.parametrize("view", VIEWS)
def test_a_phone_scrolls_no_view_sideways(browser: Browser, show: Callable[..., None], view: str):
    browser.size(390, 844)
    show(view, map=CROSS, head=1)
    wide = browser.run("return [document.documentElement.scrollWidth, document.body.scrollWidth]")
    assert max(wide) <= 390
    small = browser.run(
        "return [...document.querySelectorAll('.tabs button, button.look, .controls button')]"
        ".map((one) => [one.textContent, one.getBoundingClientRect()])"
        ".filter(([, box]) => box.width && box.height < 40).map(([text, box]) => `${text} ${box.height}`)"
    )
    assert small == []


@pytest.mark.parametrize("view", VIEWS)
def test_everything_has_a_name_and_is_reached_in_order(
    browser: Browser, show: Callable[..., None], view: str
):
    show(view, map=CROSS, head=1, query=1)
    tree = browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = ("button", "textbox", "combobox", "slider", "checkbox", "tab", "link", "option", "application")
    nameless = [
        one["role"]["value"]
        for one in tree
        if not one.get("ignored")
        and one.get("role", {}).get("value") in roles
        and not one.get("name", {}).get("value")
    ]
    assert nameless == []
    # The Tab key goes down the page, and out of every part of it.
    browser.run("document.body.focus(); window.reached = []; document.activeElement.blur()")
    browser.run("addEventListener('focusin', ({target}) => window.reached.push(target))")
    browser.press(*["TAB"] * 60)
    found = browser.run(
        "const all = [...document.querySelectorAll('*')];"
        "return window.reached.map((one) => [all.indexOf(one), one.id, one.closest('main') !== null])"
    )
    order = [place for place, _, _ in found]
    last = next((i for i in range(1, len(order)) if order[i] < order[i - 1]), len(order))
    assert [name for _, name, _ in found[:3]] == ["skip", "theme", "help"]
    assert any(inside for _, _, inside in found[:last])
    assert all(name == "skip" for _, name, _ in found[last : last + 1])
