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
from heedful.viewing.saved import page
from heedful.viewing.scene import Scene
from heedful.viewing.studio import Studio
from tests.end_to_end.browser import PATIENCE, Browser
from tests.end_to_end.page_server import HEEDFUL, HOSTILE, SCRIPTS, Server
from tests.viewing.tiny import Tiny
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
def saved(opened: Opened, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved page of SOURCE, and of OTHER with itself as its translation."""
    path = tmp_path_factory.mktemp("saved") / "page.html"
    studio = Studio([opened])
    views = [studio.open("0", texts) for texts in ({"source": SOURCE}, {"source": OTHER, "target": OTHER})]
    made = page(studio, views, seconds=PATIENCE)
    path.write_text(made.html, encoding="utf-8")
    return path


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


def test_titles_of_a_comparison_are_those_of_its_maps(browser: Browser, show: Callable[..., None]):
    show("compare", map=CROSS, head=0)
    hold_up(browser, "api/compare")
    before = browser.text(".compare-map h3")
    browser.press("]")
    browser.wait(lambda: in_address(browser, "head") == "1", "the next head")
    browser.hover(browser.all(".compare-map canvas")[0])
    browser.hover(browser.all(".compare-map canvas")[1])
    assert browser.text(".compare-map h3") == before
    browser.run("window.letGo()")
    browser.wait(lambda: browser.text(".compare-map h3") != before, "the titles of the next head")


def test_a_text_that_is_typed_while_another_is_read_stays(browser: Browser, show: Callable[..., None]):
    show("compare", map=CROSS, head=0)
    box = ".compare-side textarea[name={}]"
    composing = "new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true})"
    browser.type(box.format("source"), OTHER)
    browser.run(f"document.activeElement.dispatchEvent({composing})")
    assert browser.run("return document.activeElement.value") == OTHER
    hold_up(browser, "api/scenes")
    browser.press("TAB")
    browser.driver.execute_cdp_cmd("Input.insertText", {"text": "red bl"})
    browser.run("window.letGo()")
    browser.wait(lambda: OTHER in browser.text(".compare-map h3"), "the comparison")
    assert browser.run("return [document.activeElement.name, document.activeElement.value]") == [
        "target",
        "red bl",
    ]
    assert in_address(browser, "other.t.target") is None


def test_lines_say_what_is_taken_out(browser: Browser, show: Callable[..., None]):
    show("lines", map=CROSS, head=1, without="first", query=0)
    browser.find("main .note", "Without the first key: what is left of each query adds up to 1.")
    browser.click(".controls label", "without the first key")
    browser.wait(lambda: in_address(browser, "without") is None, "all keys in the address")
    browser.wait(lambda: "Without" not in browser.text("main .note"), "the note to be gone")


def test_a_button_let_go_beside_the_map_drags_nothing(browser: Browser, show: Callable[..., None]):
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    show("map", map=CROSS, head=1, zoom=90)
    before = browser.address
    stage = browser.find(".stage")
    x, y = stage.rect["x"] + stage.rect["width"] - 2, stage.rect["y"] + 300

    def move(*places: tuple[float, float], hold: bool = False) -> None:
        hands = ActionBuilder(browser.driver, duration=20)
        for place in places:
            hands.pointer_action.move_to_location(*map(round, place))
            if hold and place == places[0]:
                hands.pointer_action.pointer_down()
        if hold:
            hands.pointer_action.pointer_up()
        hands.perform()

    move((x, y), (x + 4, y), hold=True)
    move((x - 300, y), (x - 500, y - 20))
    browser.find(".tooltip", "→")
    assert browser.address == before
    # Held on the stage it is dragged, and a click still fixes a cell.
    move((x - 500, y), (x - 480, y), (x - 380, y), hold=True)
    browser.wait(lambda: in_address(browser, "x"), "the place in the address")
    browser.click_at(stage, -100, 0)
    browser.wait(lambda: in_address(browser, "query"), "the query in the address")


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
