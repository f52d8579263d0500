"""The page in a real browser, on a model trained a moment before: what a user does, and the numbers that he reads."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest
from torch import Tensor

from heedful.viewing.comparison import Compared, compare
from heedful.viewing.looks.opened import Opened
from heedful.viewing.scene import Scene
from tests.end_to_end.browser import Browser
from tests.end_to_end.looking import CROSS, OTHER, SOURCE, VIEWS, drawn, hold_up, in_address, pointed_at
from tests.end_to_end.page_server import HOSTILE, SCRIPTS, Server
from tests.viewing.unpacked import unpack

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("calm")]


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
