"""Models that are opened and scenes that were looked at, for as long as somebody looks.

    studio = Studio([open_model("runs/multi30k-en-de")])
    view = studio.open("0", {"source": "A man rides a horse."})      # a View; the same again for the same request
    view.pyramid(3, 0).tile(0, 0, 0)

The longest unused scenes are forgotten: at most so many are kept, and at most so many bytes of them. All may be asked
from several threads.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from heedful.attention import Record
from heedful.attention.overview import Thumbnail
from heedful.attention.recomputed import Recomputed
from heedful.errors import DataError, HeedfulError
from heedful.viewing.background import Background
from heedful.viewing.looks.opened import Opened
from heedful.viewing.manifest import manifest
from heedful.viewing.sample import sample, spread
from heedful.viewing.scene import AttentionMap, Scene
from heedful.viewing.tiles import Pyramid

SCENES = 8
BYTES = 6 * 2**30
# A map of more weights is shown from some of its queries at first.
AT_ONCE = 2**25
# So many queries stand for all.
QUERIES = 96
# Pictures of levels, all heads of a scene together.
PICTURES = 2**30


class Forgotten(HeedfulError):  # noqa: N818 -- what happened, not what is wrong
    """A scene is not kept any more, or never was."""


@dataclass(eq=False)
class View:
    """A scene as it is looked at: what was made of it so far.

    id: the same for the same model and texts
    """

    id: str
    model: str
    scene: Scene
    background: Background
    _pyramids: dict[tuple[int, int | None], Pyramid] = field(default_factory=dict)
    _made: dict[str, Any] = field(default_factory=dict)
    _lock: Any = field(default_factory=Lock)

    @property
    def manifest(self) -> dict[str, Any]:
        """All but the weights, for JSON."""
        return self.made("manifest", lambda: manifest(self.scene, self.id, self.model, self.long))

    @property
    def long(self) -> bool:
        """Whether any map has so many weights that some queries stand for all at first."""
        return any(map(is_long, self.scene.maps))

    @property
    def kept_bytes(self) -> int:
        """How much memory its records take, about."""
        return sum(map(_bytes, self.scene.maps))

    def map(self, number: int) -> AttentionMap:
        """Give a map; IndexError where there is no such one."""
        if not 0 <= number < len(self.scene.maps):
            raise IndexError(f"There is no map {number}: there are {len(self.scene.maps)}, counted from 0.")
        return self.scene.maps[number]

    def pyramid(self, number: int, head: int | None, wanted: bool = True) -> Pyramid:
        """Give the pyramid of a head (None: of the mean of all).

        wanted: that somebody looks at it now, so that its pass over the weights comes before others
        """
        record = self.map(number).record
        with self._lock:
            key = number, head
            # Taken out and put in: the dictionary's order is that of their use.
            pyramid = self._pyramids.pop(key, None) or Pyramid(record, head)
            self._pyramids[key] = pyramid
        if not pyramid.done:
            self.background.ask(
                (self.id, number, head), lambda stop: self._pass_over(pyramid, stop), urgent=wanted
            )
        return pyramid

    def head(self, number: int, head: int | None) -> Record:
        """Give the record of a head, or of the mean of all."""
        return self.pyramid(number, head).record

    def look_at_all(self) -> None:
        """Have all heads of long maps passed over once, when nothing else is to be done."""
        for number, one in enumerate(self.scene.maps):
            if is_long(one):
                for head in range(one.heads):
                    with self._lock:
                        passed = self._pyramids.get((number, head))
                    # What was thinned since keeps what is shown here: another pass would thin others in turn.
                    if passed is None or not passed.kept_bytes:
                        self.pyramid(number, head, wanted=False)

    def thumbnail(self, number: int, size: int) -> tuple[Tensor, Tensor, tuple[int, int], bool]:
        """Give mean and maximum (heads, rows, columns) of all heads in small, a cell's size, and whether sampled."""
        one = self.map(number)
        if not is_long(one):
            picture = one.record.overview(size)
            return picture.mean[0], picture.maximum[0], picture.cell, False
        with self._lock:
            pyramids = [self._pyramids.get((number, head)) for head in range(one.heads)]
        pictures = [pyramid and _whole(pyramid, size) for pyramid in pyramids]
        if all(pictures):
            mean, maximum = (
                torch.stack([getattr(each, of)[0, 0] for each in pictures]) for of in ("mean", "maximum")
            )
            return mean, maximum, pictures[0].cell, False  # pyright: ignore[reportOptionalMemberAccess]
        return *self.made(f"thumbnail {number} {size}", lambda: _small(one, size)), True

    def made(self, name: str, make: Callable[[], Any]) -> Any:
        """Give what was made under this name, or make it."""
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    def _pass_over(self, pyramid: Pyramid, stop: Callable[[], bool]) -> None:
        pyramid.pass_over(stop)
        with self._lock:
            kept = [each for each in self._pyramids.values() if each.kept_bytes]
            total = sum(each.kept_bytes for each in kept)
            for each in kept:
                if total <= PICTURES:
                    break
                if each is pyramid:
                    continue
                before = each.kept_bytes
                each.thin()
                total -= before - each.kept_bytes


class Studio:
    """Opened models, and scenes of them.

    models: known by their places, "0", "1", ...
    """

    def __init__(self, models: Sequence[Opened]) -> None:
        self.models = {str(number): model for number, model in enumerate(models)}
        self.background = Background()
        self._views: dict[str, View] = {}
        self._lock = Lock()
        # One pass of a model at a time: two would take the memory of two.
        self._looking = Lock()

    def model(self, name: str) -> Opened:
        """Give a model by its number or the name of its folder. Raises DataError where there is no such one."""
        if name in self.models:
            return self.models[name]
        for model in self.models.values():
            if name and name == model.folder_name:
                return model
        raise DataError(f"There is no model {name!r} here; there are {', '.join(self.models)}.")

    def number(self, name: str) -> str:
        """Give the number of a model."""
        model = self.model(name)
        return next(number for number, each in self.models.items() if each is model)

    def open(self, model: str, texts: Mapping[str, str]) -> View:
        """Look at texts with a model; DataError for texts that are missing, too long or not asked for."""
        number = self.number(model)
        opened = self.models[number]
        # A text that is empty is one that was not given.
        told = json.dumps(
            [number, opened.title, sorted((name, text) for name, text in texts.items() if text)]
        ).encode()
        id_ = hashlib.sha256(told).hexdigest()[:16]
        with self._looking:
            view = self._kept(id_)
            if view is None:
                view = View(id_, number, opened.look(texts), self.background)
                self._keep(view)
        return view

    def view(self, id_: str) -> View:
        """Give a scene by its id. Raises Forgotten."""
        view = self._kept(id_)
        if view is None:
            raise Forgotten("This scene is not kept any more; ask for it again.")
        return view

    def _kept(self, id_: str) -> View | None:
        with self._lock:
            view = self._views.pop(id_, None)
            if view is not None:
                self._views[id_] = view
            return view

    def _keep(self, view: View) -> None:
        with self._lock:
            self._views[view.id] = view
            # Two at least: they are compared.
            while len(self._views) > SCENES or (
                len(self._views) > 2 and sum(each.kept_bytes for each in self._views.values()) > BYTES
            ):
                oldest = next(iter(self._views))
                del self._views[oldest]
                self.background.drop(oldest)


def is_long(one: AttentionMap) -> bool:
    """Whether some queries stand for all of a map at first."""
    return int(np.prod(one.record.shape)) > AT_ONCE


def _whole(pyramid: Pyramid, size: int) -> Thumbnail | None:
    """Give a head in small, of all its queries; None before its pass. A head that needs no pass keeps no pictures."""
    return pyramid.record.overview(size) if pyramid.base is None else pyramid.thumbnail(size)


def _small(one: AttentionMap, size: int) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Give a picture of some queries; a cell is so many of all queries as it stands for."""
    queries = one.record.shape[2]
    # Let go of afterwards: these rows have all the keys of a long text.
    few = sample(one.record, spread(queries, QUERIES))
    picture = few.overview(size)
    cell = max(1, round(picture.cell[0] * queries / few.shape[2])), picture.cell[1]
    return picture.mean[0], picture.maximum[0], cell


def _bytes(one: AttentionMap) -> int:
    matrix = one.record.matrix
    if isinstance(matrix, Recomputed):
        call = matrix.call
        return sum(each.numel() * each.element_size() for each in (call.query, call.key))
    return 4 * int(np.prod(matrix.shape))
