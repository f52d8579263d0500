"""The page without a browser: its modules belong together, nothing is from elsewhere, the address holds the state."""

import json
import re

import pytest

from tests.viewing.page_files import FILES, MODULES, PAGE, imports, needs_node, run

# What belongs together.


@needs_node
def test_every_module_parses():
    files = [str(PAGE / name) for name in MODULES]
    script = """
    import vm from "node:vm";
    import fs from "node:fs";
    const wrong = [];
    for (const file of FILES) {
      try {
        new vm.SourceTextModule(fs.readFileSync(file, "utf8"), { identifier: file });
      } catch (error) {
        wrong.push(`${file}: ${error.message}`);
      }
    }
    console.log(JSON.stringify(wrong));
    """
    assert run(script.replace("FILES", json.dumps(files)), "--experimental-vm-modules") == []


def test_what_modules_import_is_there_and_exported():
    for name, source in MODULES.items():
        for names, file in imports(source):
            assert file in MODULES, f"{name} imports {file}"
            for each in names:
                exported = rf"export (?:async )?(?:function\*?|class|const) {re.escape(each)}\b"
                assert re.search(exported, MODULES[file]), f"{name} imports {each} from {file}"


def test_every_module_is_used():
    reached, waiting = set(), ["main.js"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [file for _, file in imports(MODULES[name])]
    # A saved page begins with its own source.
    assert set(MODULES) - reached - {"saved_source.js", "saved_weights.js"} == set()


def test_the_index_has_every_style_sheet_and_begins_with_main():
    linked = re.findall(r'href="page/([\w.-]+\.css)"', FILES["index.html"])
    assert sorted(linked) == sorted(name for name in FILES if name.endswith(".css"))
    assert linked[0] == "style.css"
    assert re.findall(r'src="([^"]+)"', FILES["index.html"]) == ["page/main.js"]


# What comes from elsewhere, or could act.


@pytest.mark.parametrize("name", FILES)
def test_nothing_comes_from_elsewhere(name: str):
    text = FILES[name].replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|\bwss?:|@import|(?<![:\w])//[\w-]+\.\w", text)


@pytest.mark.parametrize("name", MODULES)
def test_texts_become_text_only(name: str):
    found = re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|document\.write|DOMParser|srcdoc"
        r"|\beval\(|new Function|setHTMLUnsafe|setTimeout\(\s*[\"'`]|javascript:",
        MODULES[name],
    )
    assert found is None


def test_the_index_has_no_script_or_style_of_its_own():
    # The server's content security policy would refuse them.
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", FILES["index.html"])


# What is told in the address.


@needs_node
def test_a_state_comes_back_out_of_its_address():
    states = [
        {},
        {
            "view": "map",
            "head": "mean",
            "query": 0,
            "key": 7,
            "zoom": 12.5,
            "scale": "log",
            "without": "special,first",
        },
        {
            "model": "a b&c=d#",
            "texts": {"source": "50 % <b>&=#+\n日本 👩‍👩‍👧", "target": "ا"},
            "theme": "dark",
        },
        {
            "other": {"model": "1", "texts": {"text": "the ball"}, "map": "h.0.attn", "head": 3},
            "p": 0.5,
            "words": 1,
        },
    ]
    found = run(f"""
    import {{ DEFAULTS, format, parse }} from "PAGE/state.js";
    const states = {json.dumps(states)}.map((state) => ({{ ...DEFAULTS, ...state }}));
    console.log(JSON.stringify(states.map((state) => [state, parse(format(state)), format(state)])));
    """)
    for state, parsed, _ in found:
        assert parsed == state
    assert found[0][2] == ""  # what is by default is not told
    assert found[1][2].startswith("#view=map&head=mean&query=0&key=7")


@needs_node
def test_an_address_that_nobody_wrote_is_harmless():
    found = run("""
    import { parse } from "PAGE/state.js";
    console.log(JSON.stringify([
      parse("#head=-3&query=NaN&zoom=1e999&texts=x&__proto__=x&constructor=y&p=abc&view=%3Cimg%3E"),
      parse("#head=2.7&t.__proto__=x&other.head=9&other.t.a=b"),
      parse("#%E0%A4%A"),
    ]));
    """)
    assert found[0] | {"view": "overview"} == found[2]
    assert found[1]["head"] == 2
    assert found[1]["other"] == {"model": None, "texts": {"a": "b"}, "map": None, "head": 9}


@needs_node
def test_a_text_too_long_for_an_address_is_left_out():
    address = run("""
    import { DEFAULTS, format } from "PAGE/state.js";
    console.log(JSON.stringify(format({ ...DEFAULTS, view: "map", texts: { source: "a".repeat(100000) } })));
    """)
    assert address == "#view=map"


@needs_node
def test_heads_follow_each_other_across_layers():
    found = run("""
    import { beside, chosen } from "PAGE/state.js";
    const maps = [["a", "encoder", 2], ["b", "cross", 1], ["c", "decoder", 2]];
    const scene = { maps: maps.map(([name, group, heads]) => ({ name, group, heads })) };
    const walk = [];
    let state = { map: "a", head: 0 };
    for (let i = 0; i < 5; i++) walk.push(Object.values((state = beside(scene, state, 1))));
    for (let i = 0; i < 5; i++) walk.push(Object.values((state = beside(scene, state, -1))));
    const first = chosen(scene, { map: null, head: 5 });
    console.log(JSON.stringify([walk, [first.map.name, first.head, chosen(scene, { map: "c", head: "mean" }).head]]));
    """)
    forward = [["a", 1], ["b", 0], ["c", 0], ["c", 1], ["a", 0]]
    assert found[0] == [*forward, *forward[3::-1], forward[4]]
    assert found[1] == ["b", 0, "mean"]


@needs_node
def test_what_is_fixed_stays_on_its_axes():
    patches = run("""
    import { beside } from "PAGE/state.js";
    const axes = [["a", "source"], ["b", "source"], ["c", "target"]];
    const scene = { maps: axes.map(([name, axis]) => ({ name, heads: 1, queries: axis, keys: "source" })) };
    console.log(JSON.stringify(["a", "b"].map((map) => beside(scene, { map, head: 0, query: 2, key: 1 }, 1))));
    """)
    assert patches == [{"map": "b", "head": 0}, {"map": "c", "head": 0, "query": None, "key": None}]


@needs_node
def test_a_model_is_found_by_what_its_address_says():
    addresses, found = run("""
    import { addressOf, named } from "PAGE/state.js";
    const models = ["1", "0", "run", "run"].map((folder_name, i) => ({ id: String(i), folder_name }));
    const addresses = models.map((model) => addressOf(model, models));
    const found = [...addresses, null, "none"].map((address) => named(models, address)?.id ?? null);
    console.log(JSON.stringify([[...addresses, addressOf(models[0], [models[0]])], found]));
    """)
    assert addresses == ["1", "0", "2", "3", None]
    assert found == ["0", "1", "2", "3", None, None]


@needs_node
def test_models_of_one_title_are_told_apart_by_their_folders():
    titles = run("""
    import { nameOf } from "PAGE/form.js";
    const named = (title, folder_name) => ({ title, folder_name });
    const models = [named("Text", "a"), named("Text", "b"), named("Image", "c")];
    console.log(JSON.stringify(models.map((model) => nameOf(model, models))));
    """)
    assert titles == ["Text · a", "Text · b", "Image"]


# Tokens.


@needs_node
def test_tokens_show_what_would_not_be_seen():
    shown, cut, told, words = run(r"""
    import { shorten, shown, weightText, words } from "PAGE/tokens.js";
    const axis = { text: ["play", "ground", " a", "</s>", "b"], word: [0, 0, 1, null, 2] };
    console.log(JSON.stringify([
      [" the", "a b ", "\n", "\t", "", "\u202egnp.exe", "<img onerror=alert(1)>", "👩‍👩‍👧"].map(shown),
      [shorten("👩‍👩‍👧👩‍👩‍👧👩‍👩‍👧", 2), shorten("abc", 3), shorten("abcd", 3)],
      [0, 1, 0.973, 0.01234, 0.00001, NaN].map(weightText),
      words(axis),
    ]));
    """)
    assert shown == ["␣the", "a b␣", "⏎", "⇥", "∅", "U+202Egnp.exe", "<img onerror=alert(1)>", "👩‍👩‍👧"]
    assert cut == ["👩‍👩‍👧…", "abc", "ab…"]
    assert told == ["0", "1.000", "0.973", "0.0123", "1.0e−5", "–"]
    assert [(word["text"], word["tokens"]) for word in words] == [
        ("playground", [0, 1]),
        (" a", [2]),
        ("</s>", [3]),
        ("b", [4]),
    ]
