"""Folders of images, class by class: read once, checked, and kept as one memory-mapped array.

    greek/alpha/1.png
    greek/alpha/2.png        a class is a folder that holds images; its name is its path, greek/alpha
    greek/beta/1.png

A zip archive of such folders is read as it is. Every image becomes grey, 28 x 28, by the mean of the area that falls
into a pixel, and is stored as ink: 255 is full ink, 0 is paper. What is kept in a folder:

    images.npy      uint8 (images, 28, 28), the classes one after the other
    classes.json    their names and numbers of images
"""

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from rich.table import Table

from heedful.data.corpus import read_lines
from heedful.data.findings import Section
from heedful.durable import replacing, write_text
from heedful.errors import DataError
from heedful.settings import Settings

SIDE = 28
"""Height and width of a stored image, in pixels: Omniglot's in the few-shot literature."""

IMAGES, CLASSES = "images.npy", "classes.json"
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm"}
_FIRST = 5  # how many of each finding are named
_ROTATION = re.compile(r"/rot\d{3}$")

Ink = Literal["dark", "light"]


class ImageFolderSettings(Settings):
    """Where the images of a split are."""

    folders: tuple[Path, ...] = Field(min_length=1, description="folders, or zip archives of folders")
    classes: Path | None = Field(
        default=None,
        description="a text file, .gz or not, with a class a line, perhaps with /rot090 and the like; all when unset",
    )
    without: Path | None = Field(
        default=None, description="a text file, like `classes`, of classes that do not belong to it"
    )
    ink: Ink = Field(default="dark", description="whether what is drawn is dark on light, or light on dark")

    @model_validator(mode="before")
    @classmethod
    def _one_folder_needs_no_list(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("folders"), str | Path):
            return {**given, "folders": (given["folders"],)}
        return given

    def __str__(self) -> str:
        chosen = f", classes of {self.classes}" if self.classes else ""
        return ", ".join(map(str, self.folders)) + chosen


@dataclass(frozen=True)
class ImageClasses:
    """The images of a split, (images, 28, 28) uint8, and which of them belong to each class."""

    images: NDArray[np.uint8]
    names: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each class begins."""
        return np.cumsum(self.counts) - self.counts

    @classmethod
    def open(cls, folder: Path) -> "ImageClasses":
        """Open what `write` wrote; the images stay on the disk until they are looked at."""
        classes = json.loads((folder / CLASSES).read_text(encoding="utf-8"))
        images = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
        return cls(images, tuple(classes["names"]), np.array(classes["counts"], np.int64))

    def write(self, folder: Path) -> None:
        """Keep them in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / IMAGES) as path, path.open("wb") as file:
            np.save(file, self.images, allow_pickle=False)
        content = {"names": list(self.names), "counts": self.counts.tolist()}
        write_text(folder / CLASSES, json.dumps(content, ensure_ascii=False, indent=1))


@dataclass
class Found(Section):
    """What was found in the images of a split: how many, and the faults."""

    classes: int = 0
    images: int = 0


def read(settings: ImageFolderSettings, part: str, least: int) -> tuple[ImageClasses, Found]:
    """Read the images of a split.

    part: what the split is called in messages; least: a class with fewer images is left out, and named

    Files that cannot be read are left out and named. Raises DataError where a folder is missing, a class that is asked
    for is not there, or nothing is left.
    """
    found = Found(part)
    chosen = _listed(settings.classes)
    unwanted = _listed(settings.without) or set()
    classes: dict[str, list[NDArray[np.uint8]]] = {}
    seen: dict[bytes, str] = {}
    folders: dict[str, dict[Path, None]] = {}
    for folder in settings.folders:
        for name, file, content in list_images(folder):
            if (chosen is not None and name not in chosen) or name in unwanted:
                continue
            folders.setdefault(name, {})[folder] = None
            try:
                image = decode(content, settings.ink)
            except ValueError as error:
                found.note("cannot be read, left out", f"{file} ({error})")
                continue
            classes.setdefault(name, []).append(image)
            digest = hashlib.blake2b(image.tobytes(), digest_size=8).digest()
            if (before := seen.setdefault(digest, file)) != file:
                found.note("the same as another", f"{file} = {before}")
    several = [f"{name} ({', '.join(map(str, of))})" for name, of in folders.items() if len(of) > 1]
    found.note("of several folders, taken for one", *several)
    if chosen is not None and (missing := sorted(chosen - unwanted - set(classes))):
        raise DataError(
            f"{settings.classes} names {len(missing)} classes that are not in {', '.join(map(str, settings.folders))}: "
            f"{', '.join(missing[:_FIRST])}{', ...' if len(missing) > _FIRST else ''}."
        )
    few = sorted(name for name, images in classes.items() if len(images) < least)
    found.note(
        f"fewer than {least} images, left out", *(f"{name} ({len(classes.pop(name))})" for name in few)
    )
    if not classes:
        raise DataError(
            f"The {part} images, {settings}, have no class with {least} images or more. A class is a folder of images; "
            f"{len(few)} have fewer."
        )
    names = tuple(sorted(classes))
    images = np.stack([image for name in names for image in classes[name]])
    counts = np.array([len(classes[name]) for name in names], np.int64)
    found.classes, found.images = len(names), len(images)
    return ImageClasses(images, names, counts), found


def compare(found: Mapping[str, Found], classes: Mapping[str, ImageClasses]) -> None:
    """Note in `found` which classes and images a split shares with one before it: a score must not be of those."""
    parts = list(classes)
    digests = {
        part: {hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in of.images}
        for part, of in classes.items()
    }
    for number, part in enumerate(parts):
        for other in parts[:number]:
            shared = sorted(set(classes[part].names) & set(classes[other].names))
            found[part].note(f"a class of {other} too", *shared)
            same = len(digests[part] & digests[other])
            found[part].note(f"an image of {other} too", *[""] * same)


def table(found: Iterable[Found]) -> Table:
    """What was found, for people."""
    shown = Table("images", title="Images")
    shown.add_column("classes", justify="right")
    shown.add_column("images", justify="right")
    shown.add_column("found", overflow="fold")
    for part in found:
        lines = part.told(short=False) or ["nothing wrong"]
        shown.add_row(part.part, f"{part.classes:,}", f"{part.images:,}", "\n".join(lines))
    return shown


def decode(content: bytes, ink: Ink = "dark") -> NDArray[np.uint8]:
    """Give the ink (28, 28) of an image file's bytes. Raises ValueError if they are not an image.

    An image that is not square is put into the middle of a square of paper. Transparent is paper.
    """
    image_module = _pillow()
    try:
        with image_module.open(io.BytesIO(content)) as file:
            paper = "white" if ink == "dark" else "black"
            image = _eight_bits(file).convert("RGBA")
            side = max(image.size)
            square = image_module.new("RGBA", (side, side), paper)
            square.alpha_composite(image, ((side - image.width) // 2, (side - image.height) // 2))
            small = square.convert("L").resize((SIDE, SIDE), image_module.Resampling.BOX)
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as error:
        raise ValueError(str(error).replace("<_io.BytesIO object", "<the file").splitlines()[0]) from error
    grey = np.asarray(small, dtype=np.uint8)
    return 255 - grey if ink == "dark" else grey


def _eight_bits(image: Any) -> Any:
    """An image of one byte a channel; Pillow's own conversion cuts larger numbers off."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        return _pillow().fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(
            f"its numbers are of Pillow's mode {image.mode}, without a scale: save it with 8 bits"
        )
    return image


def list_images(folder: Path) -> Iterator[tuple[str, str, bytes]]:
    """Give class, name for people and content of every image in a folder or an archive, in order. Raises DataError."""
    zipped = folder.is_file()
    files = _zipped(folder) if zipped else _unpacked(folder)
    if not files:
        raise DataError(
            f"There is no image in {folder}; those that can be read end in {', '.join(sorted(_SUFFIXES))}."
        )
    # An archive's outermost folders, which all have in common, say nothing of the class.
    parents = [Path(name).parent.parts for name in files] if zipped else []
    common = 0
    while all(len(parts) > common + 1 for parts in parents) and len({p[common] for p in parents}) == 1:
        common += 1
    try:
        with zipfile.ZipFile(folder) if zipped else nullcontext() as archive:
            for name in files:
                own = "/".join(Path(name).parent.parts[common:])
                if archive is None:
                    yield own, str(folder / name), (folder / name).read_bytes()
                else:
                    yield own, f"{folder}:{name}", archive.read(name)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{folder} cannot be read: {error}.") from error


def _zipped(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a folder, and cannot be read as a zip archive: {error}.") from error
    return sorted(name for name in names if _is_image(name))


def _unpacked(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(f"There is no folder of images {folder}.")
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and _is_image(path.relative_to(folder).as_posix())
    )


def _is_image(name: str) -> bool:
    # "__MACOSX" and "._x.png" are what macOS adds to archives.
    parts = Path(name).parts
    return (
        Path(name).suffix.lower() in _SUFFIXES
        and not parts[-1].startswith(".")
        and "__MACOSX" not in parts
        and len(parts) > 1
    )


def _listed(path: Path | None) -> set[str] | None:
    """The classes that a file names: rotations of one are one."""
    if path is None:
        return None
    return {_ROTATION.sub("", line.strip()) for line in read_lines(path) if line.strip()}


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(
            "Images need Pillow, which is not installed: pip install 'heedful[images]'"
        ) from error
    return Image
