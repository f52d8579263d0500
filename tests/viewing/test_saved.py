"""A saved page: its modules as one script, its weights as the model's own, and nothing in it that could do harm."""

import html.parser
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from heedful.attention import Additive, ALiBi, Record, Rotary, ScaledDot, attend, masks, observe
from heedful.errors import HeedfulError
from heedful.viewing import saved, saved_weights
from heedful.viewing.bundle import bundle
from heedful.viewing.looks.part import part
from heedful.viewing.saved import page
from heedful.viewing.saved_weights import keep, precision
from heedful.viewing.server import PAGE, tracks_of
from heedful.viewing.studio import Studio
from tests.viewing.tiny import Tiny
from tests.viewing.unpacked import unpack

Node = Callable[..., Any]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """Run a script beside the page's modules, and give what it prints as JSON."""
    if shutil.which("node") is None:
        pytest.skip("needs node to run the page's modules")
    for file in PAGE.glob("*.js"):
        shutil.copy(file, tmp_path)
    (tmp_path / "package.json").write_text('{"type": "module"}')

    def run(script: str, *arguments: Path) -> Any:
        (tmp_path / "script.js").write_text(script)
        command = ["node", "script.js", *map(str, arguments)]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    return run


def observed(
    score=None, mask=None, queries: int = 90, keys: int = 90, heads: int = 4, kv_heads: int = 4
) -> Record:
    key = torch.randn(1, kv_heads, keys, 8)
    with observe() as seen:
        attend(torch.randn(1, heads, queries, 8) * 2, key, key, score=score or ScaledDot(), mask=mask)
    return seen[""]


# --- the script


def test_modules_become_one_script_in_the_order_in_which_they_need_each_other(node: Node):
    modules = {
        "start.js": 'import { twice as double, Box } from "./lib.js";\nimport { name } from "./lib.js";\n'
        'console.log(JSON.stringify([double(4), new Box().name, name, later, "</script><!--"]));\n'
        "function one() {}\nconst later = 1;",
        "lib.js": 'import {\n  one,\n} from "./one.js";\nexport const name = "lib";\nexport class Box { name = one; }\n'
        "const hidden = 2;\nexport async function never() {}\nfunction two(x) { return hidden * x; }\n"
        "export { two as twice };\nconst waited = await Promise.resolve(1);",
        "one.js": "export function unused() {}\nexport const one = 1;",
        "unwanted.js": "nonsense",
    }
    modules["start.js"] = modules["start.js"].replace("later, ", "")
    script = bundle(modules, "start.js")
    assert "</script" not in script
    assert "<!--" not in script
    assert "nonsense" not in script
    assert node(script) == [8, 1, "lib", "</script><!--"]


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ({"a.js": 'import { b } from "./b.js";'}, "a.js imports b.js"),
        ({"a.js": 'import { b } from "./b.js";', "b.js": 'import { a } from "./a.js";'}, "circle"),
        ({"a.js": 'import * as b from "./b.js";', "b.js": ""}, "cannot be bundled"),
        ({"a.js": "export default 1;"}, "cannot be bundled"),
    ],
)
def test_what_cannot_be_bundled_is_refused(modules: dict[str, str], said: str):
    with pytest.raises(ValueError, match=said):
        bundle(modules, "a.js")


def test_the_page_s_own_modules_can_be_bundled(node: Node, tmp_path: Path):
    modules = {file.name: file.read_text("utf-8") for file in PAGE.glob("*.js")}
    (tmp_path / "whole.js").write_text(bundle(modules, "main.js"))
    assert (
        node(
            'import { execFileSync } from "node:child_process";\n'
            'execFileSync(process.execPath, ["--check", "whole.js"]);\nconsole.log(1);'
        )
        == 1
    )


# --- weights

READ = """
import { readFileSync } from "node:fs";
import { unpack } from "./packed.js";
import { SavedWeights } from "./saved_weights.js";
const bytes = readFileSync(process.argv[2]);
const weights = new SavedWeights(unpack(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)));
const { heads, queries, keys } = weights;
const all = Array.from({ length: heads }, (_, head) => Array.from(weights.part(head, 0, queries, 0, keys)));
const mean = Array.from(weights.part("mean", 1, 3, 2, 5));
console.log(JSON.stringify({ shape: [heads, queries, keys], all, mean, seen: Array.from(weights.seenBy(1)) }));
"""

MASKS = {
    "none": lambda: None,
    "causal": masks.causal,
    "padding": lambda: masks.padding(torch.tensor([70])),
    "holes": lambda: torch.rand(90, 90) > 0.3,
    "of heads": lambda: torch.rand(1, 4, 90, 90) > 0.3,
    "nothing": lambda: torch.arange(90)[:, None].expand(90, 90) != 4,
}


@pytest.mark.parametrize("name", MASKS)
def test_products_give_the_weights_of_the_record(
    name: str, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(saved_weights, "FEW", 0)
    record = observed(Rotary(), MASKS[name](), kv_heads=2)
    kept = keep(record)
    assert kept.kind == "products"
    (tmp_path / "weights").write_bytes(kept.content)
    found = node(READ, tmp_path / "weights")
    assert found["shape"] == [4, 90, 90]
    weights = record.weights()[0].numpy()
    made = np.array(found["all"]).reshape(weights.shape)
    # Queries and keys have eleven bits; a difference of 0.005 in a score is half a percent of a weight.
    np.testing.assert_allclose(made, weights, rtol=0.02, atol=1e-6)
    assert np.abs(made - weights).max() == pytest.approx(kept.error, rel=0.5)
    assert np.all((made == 0) == (weights == 0))
    np.testing.assert_allclose(made.sum(-1), weights.sum(-1), atol=1e-5)
    np.testing.assert_allclose(
        np.array(found["mean"]).reshape(2, 3), weights.mean(0)[1:3, 2:5], rtol=0.02, atol=1e-6
    )
    allowed = record.head(1).allowed().expand(1, 1, 90, 90)
    assert found["seen"] == allowed.reshape(90, 90).sum(0).tolist()


@pytest.mark.parametrize(
    ("score", "few", "most", "kind", "within"),
    [
        (lambda: Additive(8, 8, 5), 0, 2**25, "weights", 5e-4),
        (lambda: ScaledDot().then(ALiBi(torch.tensor([0.5, 0.25, 0.1, 0.05]))), 0, 2**25, "weights", 5e-4),
        (lambda: Additive(8, 8, 5), 0, 100_000 // 4, "levels", 0.035),
        (ScaledDot, 2**20, 2**25, "exact", 1e-7),
    ],
)
def test_other_weights_are_kept_themselves(
    score,
    few: int,
    most: int,
    kind: str,
    within: float,
    node: Node,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(saved_weights, "FEW", few)
    monkeypatch.setattr(saved_weights, "MOST", most)
    record = observed(score(), masks.causal())
    kept = keep(record)
    assert kept.kind == kind
    (tmp_path / "weights").write_bytes(kept.content)
    weights = record.weights()[0].numpy()
    made = np.array(node(READ, tmp_path / "weights")["all"]).reshape(weights.shape)
    np.testing.assert_allclose(made, weights, rtol=within, atol=4e-8)
    np.testing.assert_allclose(np.abs(made - weights).max(), kept.error, atol=1e-7)


def test_a_part_of_an_attention_keeps_its_share(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(saved_weights, "FEW", 0)
    whole = observed(mask=masks.causal(), queries=200, keys=200)
    record = part(whole, [slice(50, 90), slice(120, 200)], slice(10, 120))
    kept = keep(record)
    assert kept.kind == "products"
    _, arrays = unpack(kept.content)
    assert arrays["places"].tolist() == list(range(10, 120))
    (tmp_path / "weights").write_bytes(kept.content)
    made = np.array(node(READ, tmp_path / "weights")["all"]).reshape(4, 120, 110)
    np.testing.assert_allclose(made, record.weights()[0].numpy(), rtol=0.02, atol=1e-6)


def test_what_is_kept_grows_with_length_and_not_with_its_square():
    sizes = [
        len(keep(observed(mask=masks.causal(), queries=length, keys=length)).content)
        for length in (200, 400, 800)
    ]
    assert sizes[2] - sizes[1] == pytest.approx(2 * (sizes[1] - sizes[0]), rel=0.01)


def test_what_is_too_much_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(saved_weights, "MOST", 100)
    monkeypatch.setattr(saved_weights, "FEW", 0)
    with pytest.raises(HeedfulError, match="shorter text"):
        keep(observed(Additive(8, 8, 5)))


def test_precision_is_a_sentence():
    said = precision({"exact": 0.0, "products": 0.000234})
    assert said == (
        "Weights are kept as the model has them, or made in this page from queries and keys in half precision (within "
        "3e-04 of the model's own)."
    )


# --- the page

ANSWERS = """
import { readFileSync } from "node:fs";
import { SavedSource } from "./saved_source.js";
const html = readFileSync(process.argv[2], "utf8");
const found = html.matchAll(/<script type="text\\/plain" data-path="([^"]*)"( data-halves)?>([^<]*)</g);
const elements = Array.from(found, ([, path, halves, textContent]) => ({
  dataset: { path: path.replaceAll("&amp;", "&"), ...(halves ? { halves: "" } : {}) },
  textContent,
}));
const source = new SavedSource({ querySelectorAll: () => elements });
const told = await source.models();
const scene = await source.open({ model: "0", texts: {} });
const said = async (make) => { try { await make(); return "nothing"; } catch (error) { return error.message; } };
const plain = (packed) => Object.fromEntries(
  Object.entries(packed).map(([name, of]) => [name, of?.shape ? { shape: of.shape, of: Array.from(of) } : of]));
console.log(JSON.stringify({
  told, scene, can: source.can,
  other: (await source.open({ model: "0", texts: { text: "an other" } })).texts.text,
  statistics: plain(await source.statistics(scene)),
  thumbnails: plain(await source.thumbnails(scene, 16)),
  tile: plain(await source.tile(scene, 1, 1, 0, 0, 0)),
  coarse: plain(await source.tile(scene, 1, "mean", 1, 0, 0)),
  tracks: plain(await source.tracks(scene, 0, 1)),
  weights: plain(await source.weights(scene, 1, 0, [3, 9], [2, 5])),
  top: plain(await source.top(scene, 1, 0, [1, 9], 3)),
  rollout: plain(await source.rollout(scene, 7)),
  received: plain(await source.received(scene)),
  attribution: plain(await source.attribution(scene, 3, "gradient")),
  arithmetic: plain(await source.arithmetic(scene, 1, 0, 5)),
  growth: await said(() => source.growth(scene, 4)),
  missing: await said(() => source.arithmetic(scene, 1, 0, 9999)),
}));
"""

TEXT = "a <b>fox</b></script>."


@pytest.fixture
def opened() -> Studio:
    return Studio([Tiny()])


def test_a_saved_page_answers_what_the_server_answers(opened: Studio, node: Node, tmp_path: Path):
    view, other = opened.open("0", {"text": TEXT}), opened.open("0", {"text": "an other"})
    made = page(opened, [view, other], seconds=600.0)
    (tmp_path / "page.html").write_text(made.html, "utf-8")
    found = node(ANSWERS, tmp_path / "page.html")
    record = view.scene.maps[1].record

    def of(name: str, array: str) -> np.ndarray:
        return np.array(found[name][array]["of"], float).reshape(found[name][array]["shape"])

    assert found["told"]["opened"] == {"model": "0", "texts": {"text": TEXT, "more": ""}}
    assert found["scene"]["axes"] == view.manifest["axes"]
    assert found["other"] == "an other"
    assert found["can"] == {
        "open": False,
        "rollout": True,
        "arithmetic": True,
        "attribution": True,
        "growth": False,
        "forced": False,  # it has no tokenizer
    }
    weights = record.weights()[0].numpy()
    close = {"rtol": 2e-3, "atol": 1e-6}
    assert np.array_equal(of("tile", "mean"), weights[1])
    np.testing.assert_allclose(of("weights", "weights"), weights[0, 3:9, 2:5], rtol=1e-6)
    values, places = (each[0, 0, 1:9].numpy() for each in record.head(0).top(3))
    np.testing.assert_allclose(of("top", "weights"), values, rtol=1e-6)
    assert np.array_equal(of("top", "keys"), places)
    _, arrays = unpack(tracks_of(view, 0, 1))
    for name, array in arrays.items():
        np.testing.assert_allclose(of("tracks", name), array, rtol=1e-3, atol=1e-5)
    picture = record.overview(len(TEXT) // 2)
    np.testing.assert_allclose(of("coarse", "mean"), picture.mean[0].mean(0).numpy(), **close)
    small = record.overview(16)
    assert found["thumbnails"]["cells"] == [list(small.cell)] * 2
    np.testing.assert_allclose(of("thumbnails", "mean1"), small.mean[0].numpy(), **close)
    np.testing.assert_allclose(of("thumbnails", "maximum1"), small.maximum[0].numpy(), **close)
    names = found["statistics"]["names"]
    np.testing.assert_allclose(
        of("statistics", "map1")[names.index("entropy")], record.entropy()[0].mean(-1).numpy(), rtol=1e-4
    )
    assert of("rollout", "text").sum() == pytest.approx(1, abs=5e-3)
    assert of("received", "text").sum() == pytest.approx(len(TEXT), rel=1e-4)
    assert found["attribution"]["output"] == 3
    assert found["arithmetic"]["query"] == 5
    assert "does not carry" in found["growth"]
    assert "does not carry" in found["missing"]


def test_long_texts_keep_their_pictures_and_tracks(
    opened: Studio, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(saved, "LOOKED_THROUGH", 2**10)
    monkeypatch.setattr(saved, "SIDE", 128)
    monkeypatch.setattr(saved, "MULTIPLIED", 0)
    from heedful.viewing import tiles

    monkeypatch.setattr(tiles, "ON_DEMAND", 2**12)
    text = "abcdefg" * 60
    view = opened.open("0", {"text": text})
    made = page(opened, [view], seconds=0.0)
    (tmp_path / "page.html").write_text(made.html, "utf-8")
    script = ANSWERS.split("console.log")[0]
    modules = (
        (tmp_path / "saved_source.js").read_text().replace("const MOST = 2 ** 31;", "const MOST = 2 ** 10;")
    )
    (tmp_path / "saved_source.js").write_text(modules)
    found = node(
        script
        + "console.log(JSON.stringify({ can: source.can, kept: plain(await source.tile(scene, 1, 0, 2, 0, 0)), "
        "mean: plain(await source.tile(scene, 1, 'mean', 2, 0, 0)), "
        "sampled: (await source.tile(scene, 1, 0, 1, 0, 0)).sampled, "
        "tracks: plain(await source.tracks(scene, 1, 1)), small: plain(await source.thumbnails(scene)) }));",
        tmp_path / "page.html",
    )
    record = view.scene.maps[1].record
    picture = record.overview(105)
    assert picture.cell == (4, 4)
    assert not found["kept"]["sampled"]
    np.testing.assert_allclose(
        np.array(found["kept"]["mean"]["of"]).reshape(105, 105),
        picture.mean[0, 0].numpy(),
        rtol=2e-3,
        atol=1e-7,
    )
    np.testing.assert_allclose(
        np.array(found["kept"]["maximum"]["of"]).reshape(105, 105),
        picture.maximum[0, 0].numpy(),
        rtol=2e-3,
        atol=1e-7,
    )
    np.testing.assert_allclose(
        np.array(found["mean"]["mean"]["of"]).reshape(105, 105),
        picture.mean[0].mean(0).numpy(),
        rtol=2e-3,
        atol=1e-7,
    )
    assert found["sampled"]
    np.testing.assert_allclose(
        found["tracks"]["entropy"]["of"], record.head(1).entropy()[0, 0].numpy(), rtol=1e-3, atol=1e-5
    )
    assert found["small"]["mean1"]["shape"] == [2, 27, 27]
    assert not found["can"]["arithmetic"]
    assert "arithmetic" in "".join(made.contents)


class _Elements(html.parser.HTMLParser):
    """The elements of a page, with what stands in scripts."""

    def __init__(self, page_: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page_)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_nothing_in_a_saved_page_comes_from_elsewhere_or_from_the_text(opened: Studio):
    made = page(opened, [opened.open("0", {"text": TEXT})], seconds=0.0)
    elements = _Elements(made.html)
    scripts = [attributes for tag, attributes in elements.tags if tag == "script"]
    kinds = {attributes.get("type") for attributes in scripts}
    assert kinds == {"module", "text/plain", "application/json"}
    assert sum(attributes.get("type") == "module" for attributes in scripts) == 1
    assert not any("src" in attributes for attributes in scripts)
    assert not any(tag in ("iframe", "img", "object", "embed") for tag, _ in elements.tags)
    assert all(
        (attributes.get("href") or "").startswith(("data:", "#"))
        for tag, attributes in elements.tags
        if "href" in attributes
    )
    assert not any(name.startswith("on") for _, attributes in elements.tags for name in attributes)
    policy = next(attributes["content"] for tag, attributes in elements.tags if attributes.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    assert "http:" not in policy
    assert "alert(1)" not in made.html  # title and answer of the model have it
    assert "data-saved" in made.html.split("<head>")[0]


def test_two_scenes_are_compared_head_by_head(opened: Studio, node: Node, tmp_path: Path):
    views = [opened.open("0", {"text": text}) for text in ("one text", "other text")]
    made = page(opened, views, seconds=600.0)
    (tmp_path / "page.html").write_text(made.html, "utf-8")
    found = node(
        ANSWERS.split("console.log")[0]
        + "const other = await source.open({ model: '0', texts: { text: 'other text' } });\n"
        "const compared = await source.compare({ scene, map: 1, head: 0 }, { scene: other, map: 1, head: 0 });\n"
        "const why = await said(() => source.compare({ scene, map: 0, head: 0 }, { scene: other, map: 1, head: 0 }));\n"
        "console.log(JSON.stringify([compared.summary !== undefined, why]));",
        tmp_path / "page.html",
    )
    assert found[0]
    assert "does not carry" in found[1]


SOURCE = ANSWERS.split("const told")[0] + "await source.models();\n"


def test_of_many_scenes_the_first_two_are_compared(node: Node, tmp_path: Path):
    opened = Studio([Tiny(), Tiny(1)])
    views = [opened.open(model, {"text": text}) for model in "01" for text in ("one text", "other text")]
    made = page(opened, views, seconds=600.0)
    (tmp_path / "page.html").write_text(made.html, "utf-8")
    found = node(
        SOURCE + "const sides = source.scenes.map((scene) => ({ scene, map: 1, head: 0 }));\n"
        "const carried = sides.map((each) => source.compares(sides[0], each));\n"
        "const back = source.compares(sides[1], sides[0]);\n"
        "const other = source.compares(sides[0], { ...sides[1], head: 1 });\n"
        "console.log(JSON.stringify([source.scenes.map(({ id }) => id), carried, back, other]));",
        tmp_path / "page.html",
    )
    assert found == [[view.id for view in views], [False, True, False, False], True, False]


def test_what_compare_opens_on_is_kept_in_any_case(opened: Studio):
    view = opened.open("0", {"text": "abc"})
    view.scene.maps[1] = replace(view.scene.maps[1], group="cross")
    made = page(opened, [view], seconds=0.0)
    assert re.findall(r'data-path="compare\?left=\w+\.([.\d]+)&amp;right=\w+\.([.\d]+)"', made.html) == [
        ("1.0", "1.1")
    ]


def test_maps_of_two_models_are_compared_by_their_names(opened: Studio):
    scene, other = (opened.models["0"].look({"text": text}) for text in ("abc", "abcd"))
    other.maps.reverse()
    assert saved._alike(scene, other, 0, 1) == (1, 1)
    other.maps[0] = replace(other.maps[0], name="another", group="cross")
    assert saved._alike(scene, other, 1, 1) == (0, 1)


def test_each_scene_has_its_own_search(node: Node, tmp_path: Path):
    kept = saved._Kept()
    kept.tell("can", {})
    kept.tell("models", {})
    for name in ("a", "b"):
        kept.tell(f"scenes/{name}", {"id": name, "model": "0", "texts": {"source": name, "target": "c"}})
        kept.tell(f"scenes/{name}/growth?beam=4", {"source": [name]})
    (tmp_path / "page.html").write_text("".join(kept.elements))
    found = node(
        SOURCE + "const grown = await Promise.all(source.scenes.map((scene) => source.growth(scene, 4)));\n"
        "console.log(JSON.stringify(grown.map((each) => each.source)));",
        tmp_path / "page.html",
    )
    assert found == [["a"], ["b"]]
