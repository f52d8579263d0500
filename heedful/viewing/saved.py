"""A page that opens without a server or a network: one HTML file with scenes in it.

    made = page(studio, [studio.open("0", {"source": "A man rides a horse."})])
    Path("page.html").write_text(made.html)

In the file are the page's modules as one script (`bundle`), its style, and what the server would have answered, by its
address, deflated, in base64: no text from outside can end the element that it stands in. Weights are kept so that they
can be made anew (`saved_weights`); what takes a model, such as gradients, is kept for as many outputs as a person
waits for. `page/saved_source.js` answers with it. The file allows itself no connection to anywhere.
"""

import base64
import hashlib
import html
import json
import re
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from heedful.attention import Rollout
from heedful.errors import HeedfulError
from heedful.viewing.bundle import bundle
from heedful.viewing.manifest import model_told
from heedful.viewing.packed import pack
from heedful.viewing.saved_weights import keep, precision
from heedful.viewing.scene import Scene
from heedful.viewing.server import PAGE, numbers, rollout_of, statistics_of, thumbnails_of, tracks_of
from heedful.viewing.studio import Studio, View

_START = """import { SavedSource } from "./saved_source.js";
import { start } from "./main.js";
// The frame of a notebook has no address that could be changed.
if (location.protocol === "about:") history.pushState = history.replaceState = () => {};
start(new SavedSource(document));
"""
# More weights than this in a map are too many for a browser to look through: their picture is kept.
LOOKED_THROUGH = 2**23
# All heads in small are made in the browser, if that takes no more multiplications than this.
MULTIPLIED = 2**26
# Cells to a side of a picture that is kept.
SIDE = 512
# Rollout of all outputs: weights that it goes through, and numbers that it gives.
ROLLED_OUT, ROLLED = 2**29, 2**22
# Queries whose arithmetic is kept.
EXPLAINED = 2048
# Characters that comparisons may take, and as a share of all else: each is three matrices, which a server makes anew.
COMPARED, COMPARED_SHARE = 2**20, 1 / 8
# The beam that the page asks for.
BEAM = 4


@dataclass(frozen=True)
class SavedPage:
    """A page.

    contents: what is in it, and what is not, in lines for people
    """

    html: str
    contents: Sequence[str]

    @property
    def bytes(self) -> int:
        """Its size on disk."""
        return len(self.html.encode())


@dataclass(eq=False)
class _Kept:
    """What the page carries: elements with answers by their addresses; what it can; and lines about it."""

    elements: list[str] = field(default_factory=list)
    can: dict[str, bool] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Characters so far."""
        return sum(map(len, self.elements))

    def add(self, path: str, content: bytes, halves: bool = False) -> None:
        """Keep an answer. halves: it is mostly float16, whose upper and lower bytes are smaller apart."""
        if halves:
            content += bytes(len(content) % 2)
            content = content[1::2] + content[::2]
        packed = base64.b64encode(zlib.compress(content, 6)).decode()
        halved = " data-halves" if halves else ""
        self.elements.append(
            f'<script type="text/plain" data-path="{html.escape(path)}"{halved}>{packed}</script>\n'
        )

    def tell(self, path: str, content: Any) -> None:
        """Keep an answer in JSON."""
        self.add(path, json.dumps(content, ensure_ascii=False, allow_nan=False).encode())


def page(
    studio: Studio,
    views: Sequence[View],
    seconds: float = 10.0,
    told: Callable[[str], None] = lambda line: None,
) -> SavedPage:
    """Give the page of some scenes; the first is what it opens with.

    seconds: so long what takes passes of the model is made for each scene, the likeliest wanted first; what is not
        ready then is left out
    told: is called with what is being made, as long texts take minutes

    Raises HeedfulError for a scene whose weights are too many.
    """
    kept = _Kept()
    first = views[0]
    models = [
        model_told(studio.models[number], number) for number in dict.fromkeys(view.model for view in views)
    ]
    kept.tell(
        "models", {"models": models, "opened": {"model": first.model, "texts": dict(first.scene.texts)}}
    )
    errors: dict[str, float] = {}
    for view in views:
        _scene(kept, studio, view, errors, seconds, told)
    _compared(kept, views, time.monotonic() + seconds)
    kept.tell("can", {"open": False} | kept.can)
    said = [precision(errors), *_carried(kept.can)]
    return SavedPage(_html(kept, said), [*kept.lines, *said])


def _scene(
    kept: _Kept,
    studio: Studio,
    view: View,
    errors: dict[str, float],
    seconds: float,
    told: Callable[[str], None],
) -> None:
    at = f"scenes/{view.id}"
    maps = view.scene.maps
    kept.lines.append(
        f"{view.scene.model}: {len(maps)} attention modules, {sum(one.heads for one in maps)} heads; "
        + ", ".join(f"{len(axis.tokens):,} in {axis.title}" for axis in view.scene.axes.values())
    )
    small = len(kept.elements)  # what the first picture needs stands before all weights
    for number, one in enumerate(maps):
        told(f"{one.name} ({number + 1} of {len(maps)})")
        weights = keep(one.record)
        errors[weights.kind] = max(errors.get(weights.kind, 0.0), weights.error)
        kept.add(f"{at}/maps/{number}", weights.content, halves=weights.kind in ("products", "weights"))
        _, heads, queries, keys = one.record.shape
        if queries * keys > LOOKED_THROUGH:
            for head in range(heads):
                _passed_over(kept, view, number, head)
    later, kept.elements = kept.elements[small:], kept.elements[:small]
    kept.add(f"{at}/statistics", statistics_of(view))
    multiplied = sum(int(np.prod(one.record.shape)) * _width(one.record) for one in maps)
    if multiplied > MULTIPLIED:
        kept.add(f"{at}/thumbnails", thumbnails_of(view, 48), halves=True)
    rolled = _rollout(kept, view, at)
    kept.elements += later
    told("arithmetic, gradients and search")
    until = time.monotonic() + seconds
    explained = _arithmetic(kept, view, at, until)
    attributed = _attribution(kept, view, at, until)
    grown = _growth(kept, studio, view)
    for name, has in (
        ("rollout", rolled),
        ("arithmetic", explained),
        ("attribution", attributed),
        ("growth", grown),
        ("forced", _forced(kept, studio, view, at)),
    ):
        kept.can[name] = kept.can.get(name, False) or has
    manifest = dict(view.manifest) | {"sampled": False, "rollout": rolled, "gradients": attributed}
    kept.tell(at, manifest)


def _width(record: Any) -> int:
    try:
        return record.query.shape[-1]
    except ValueError:
        return 1


def _passed_over(kept: _Kept, view: View, number: int, head: int) -> None:
    """Keep what takes a pass over all weights of a head: its picture and its tracks."""
    pyramid = view.pyramid(number, head)
    pyramid.pass_over()
    at = f"scenes/{view.id}/maps/{number}/heads/{head}"
    kept.add(f"{at}/tracks", tracks_of(view, number, head))
    picture = pyramid.thumbnail(SIDE)
    if picture is not None:
        level = picture.cell[0].bit_length() - 1
        scale = 2.0 ** (10 + level)  # means are small numbers
        arrays = {
            "mean": numbers(picture.mean[0, 0] * scale).astype(np.float16),
            "maximum": numbers(picture.maximum[0, 0]).astype(np.float16),
        }
        kept.add(f"{at}/picture", pack({"level": level, "scale": scale}, arrays), halves=True)


def _rollout(kept: _Kept, view: View, at: str) -> bool:
    """Keep what all outputs draw from all inputs."""
    steps = view.scene.steps
    if not steps or sum(int(np.prod(step.record.shape)) for step in steps) > ROLLED_OUT:
        return False
    rollout = Rollout(steps)
    outputs = rollout.lengths[rollout.output]
    if outputs * sum(rollout.lengths.values()) > ROLLED:
        return False
    rows = rollout.rows(slice(None))
    arrays = {name: numbers(of[0]).astype(np.float16) for name, of in rows.items()}
    kept.add(f"{at}/rollout", pack({}, arrays), halves=True)
    kept.add(f"{at}/received", rollout_of(view, None))
    return True


def _arithmetic(kept: _Kept, view: View, at: str, until: float) -> bool:
    """Keep the arithmetic of every query of every head; or of none, if they are many."""
    from heedful.viewing.arithmetic import explain

    wanted = [
        (number, head, query)
        for number, one in enumerate(view.scene.maps)
        if view.manifest["maps"][number]["arithmetic"]
        for head in range(one.heads)
        for query in range(one.record.shape[2])
    ]
    if not wanted or len(wanted) > EXPLAINED:
        return False
    entries = []
    for number, head, query in wanted:
        try:
            entries.append(explain(view.scene, number, head, query))
        except HeedfulError:
            return False
        if time.monotonic() > until:
            return False
    for (number, head, query), content in zip(wanted, entries, strict=True):
        kept.add(f"{at}/maps/{number}/heads/{head}/arithmetic?query={query}", content)
    return True


def _attribution(kept: _Kept, view: View, at: str, until: float) -> bool:
    """Keep gradients of as many outputs as there is time for, then integrated ones."""
    from heedful.viewing.attribution import attribute

    scene = view.scene
    if not view.manifest["gradients"] or scene.outputs is None:
        return False
    for method in ("gradient", "integrated"):
        for output in range(len(scene.outputs[1])):
            if time.monotonic() > until:
                return method == "integrated" or output > 0
            try:
                content = attribute(scene, output, method)
            except HeedfulError:
                return False
            kept.add(f"{at}/attribution?output={output}&method={method}", content)
    return True


def _growth(kept: _Kept, studio: Studio, view: View) -> bool:
    """Keep the search that wrote the answer."""
    from heedful.viewing.growth import grow

    model = studio.models[view.model]
    if not model.writes:
        return False
    try:
        grown = grow(model.model, view.scene.texts, BEAM)
    except HeedfulError:
        return False
    kept.tell(f"scenes/{view.id}/growth?beam={BEAM}", grown)
    return True


def _forced(kept: _Kept, studio: Studio, view: View, at: str) -> bool:
    """Keep how likely each token of the text was to the model."""
    from heedful.viewing.growth import forced

    try:
        kept.tell(f"{at}/forced", forced(view.scene, studio.model(view.model).model))
    except HeedfulError:
        return False
    return True


def _compared(kept: _Kept, views: Sequence[View], until: float) -> None:
    """Keep comparisons, as far as there is time: of each head with that of the second scene, else with the next.

    Which one that is, `besides` in compare.js says; what the page opens on is kept in any case.
    """
    from heedful.viewing.comparison import Compared, compare

    left, right = views[0], views[min(1, len(views) - 1)]
    heads = [(number, head) for number, one in enumerate(left.scene.maps) for head in range(one.heads)]
    heads.sort(key=lambda each: left.scene.maps[each[0]].group != "cross")  # as `chosen` in state.js
    if left is right:
        maps = left.scene.maps
        pairs = [
            ((number, head), (number, (head + 1) % maps[number].heads))
            if maps[number].heads > 1
            else ((number, head), ((number + 1) % len(maps), 0))
            for number, head in heads
        ]
    else:
        pairs = [((number, head), _alike(left.scene, right.scene, number, head)) for number, head in heads]
    begun = kept.size
    most = begun + max(COMPARED, int(COMPARED_SHARE * begun))
    for one, other in pairs:
        if kept.size > begun and (time.monotonic() > until or kept.size > most):
            return
        try:
            content = compare(Compared(left.scene, *one), Compared(right.scene, *other))
        except HeedfulError:
            continue
        sides = [f"{view.id}.{number}.{head}" for view, (number, head) in ((left, one), (right, other))]
        kept.add(f"compare?left={sides[0]}&right={sides[1]}", content)


def _alike(scene: Scene, other: Scene, number: int, head: int) -> tuple[int, int]:
    """Give the map and the head of another scene: by the map's name, else of the first cross-attention or map."""
    named = [place for place, one in enumerate(other.maps) if one.name == scene.maps[number].name]
    crosses = [place for place, one in enumerate(other.maps) if one.group == "cross"]
    place = [*named, *crosses, 0][0]
    return place, min(head, other.maps[place].heads - 1)


def _carried(can: dict[str, bool]) -> list[str]:
    """Say what a server would have, and this page has not."""
    names = {
        "rollout": "rollout",
        "arithmetic": "the arithmetic of single queries",
        "attribution": "gradients",
        "growth": "the search",
        "forced": "the probability of each token",
    }
    missing = [said for name, said in names.items() if not can.get(name)]
    said = ["Other texts need `heedful view`."]
    return [f"Not in this file: {', '.join(missing)}.", *said] if missing else said


def _html(kept: _Kept, said: Sequence[str], folder: Path = PAGE) -> str:
    """Put the page together out of index.html."""
    files = {
        path.name: path.read_text(encoding="utf-8")
        for path in folder.iterdir()
        if path.suffix in (".js", ".css", ".json")
    }
    script = bundle(
        {name: text for name, text in files.items() if name.endswith(".js")} | {"start.js": _START},
        "start.js",
    )
    content = (folder / "index.html").read_text(encoding="utf-8")
    sheets = re.findall(r'<link rel="stylesheet" href="page/([\w.-]+)" />', content)
    style = "\n".join(files[name] for name in sheets if name in files).replace("</style", "<\\/style")
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    content = re.sub(r'\s*<(?:link rel="stylesheet"|script type="module")[^>]*>(?:</script>)?', "", content)
    colors = json.dumps(json.loads(files["colors.json"])).replace("<", "\\u003c")
    foot = "".join(f"<p>{html.escape(line)}</p>" for line in said)
    for old, new in (
        ("<html ", "<html data-saved "),
        ("<head>", f'<head>\n    <meta http-equiv="Content-Security-Policy" content="{policy}" />'),
        ("</head>", f"  <style>{style}</style>\n  </head>"),
        ("</footer>", f'</footer>\n    <div class="footer saved">{foot}</div>'),
        (
            "</body>",
            f'<script type="application/json" id="colors.json">{colors}</script>\n{"".join(kept.elements)}'
            f'<script type="module">{script}</script>\n  </body>',
        ),
    ):
        if content.count(old) != 1:
            raise ValueError(f"index.html has {content.count(old)} times {old}; a saved page is made of one.")
        content = content.replace(old, new)
    return content


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
