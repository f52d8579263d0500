"""The model folder of a few-shot model, and the model that is loaded from it.

    namer = heedful.load(folder)
    print(namer.predict("my/examples", ["new.png"])[0])      # the name of the folder in my/examples that fits best

The examples are a folder with a folder for each class, or a mapping from class to image files; there may be fewer
classes than the model was trained for, not more.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field

from heedful.data import images
from heedful.data.images import Ink
from heedful.errors import DataError
from heedful.machine import resolve_device
from heedful.models.snail import FewShotSnail, FewShotSnailSettings
from heedful.tasks.model_folder import ModelConfig, opened, read_model, write


class FewShotConfig(ModelConfig):
    """What config.json holds of a few-shot model."""

    use = """    printf 'EXAMPLES\\tIMAGE\\n' | heedful predict PATH

with `EXAMPLES` a folder that holds a folder of images for each class, and `IMAGE` the image to name. In Python:

    import heedful
    namer = heedful.load("PATH")
    namer.predict("EXAMPLES", ["IMAGE"])
"""

    task: Literal["few-shot"] = Field(default="few-shot", description="what the model does")
    model: FewShotSnailSettings = Field(description="the network")
    ways: int = Field(ge=2, description="classes of an episode")
    shots: int = Field(ge=1, description="examples of a class in training, at most")
    ink: Ink = Field(default="dark", description="what is drawn in the images it was trained on")

    def title(self) -> str:
        """See `ModelConfig`."""
        return f"which names images of {self.ways} classes after a few examples of each"

    def facts(self) -> dict[str, Any]:
        """See `ModelConfig`."""
        return {"ways": self.ways, "shots": self.shots}


@dataclass(frozen=True)
class Named:
    """The answer to one image: its class, and the probability of every class."""

    name: str
    probabilities: Mapping[str, float]

    def __str__(self) -> str:
        return self.line

    @property
    def line(self) -> str:
        """See `heedful.tasks.face.Answer`."""
        return self.name

    def to_json(self) -> dict[str, Any]:
        """With all that is known of it, ready for JSON."""
        return {"name": self.name, "probabilities": dict(self.probabilities)}


class Namer:
    """A few-shot model that names images of files."""

    def __init__(self, model: FewShotSnail, ink: Ink) -> None:
        self.model = model
        self.ink: Ink = ink

    def predict(
        self, examples: str | Path | Mapping[str, Sequence[str | Path]], queries: Iterable[str | Path]
    ) -> list[Named]:
        """Name each image of `queries` by the classes of `examples`.

        examples: a folder, or zip archive, with a folder for each class; or class -> image files

        Raises DataError for an image that cannot be read, and for more classes than the model can tell apart. The order
        of examples is part of what the model reads; it is that of their names, each class in turn.
        """
        shown = self._examples(examples)
        names = sorted({name for name, _ in shown})
        if not 2 <= len(names) <= self.model.ways:
            raise DataError(
                f"The examples, {examples if isinstance(examples, str | Path) else 'a mapping'}, have {len(names)} "
                f"classes; this model tells 2 to {self.model.ways} apart."
            )
        asked = [self._image(Path(path)) for path in queries]
        if not asked:
            return []
        labels = torch.tensor([[names.index(name) for name, _ in shown]])
        device = next(self.model.parameters()).device
        with torch.no_grad():
            logits = self.model(
                _ink([image for _, image in shown]).to(device), labels.to(device), _ink(asked).to(device)
            )
        # A label that no example has is not an answer.
        probabilities = logits[0, :, : len(names)].double().softmax(-1).tolist()
        return [
            Named(names[int(np.argmax(of_one))], dict(zip(names, of_one, strict=True)))
            for of_one in probabilities
        ]

    def stream(self, lines: Iterable[str]) -> Iterator[Named]:
        """Answer lines "EXAMPLES<tab>IMAGE": a folder with a folder of images for each class, and an image file."""
        for number, line in enumerate(lines, 1):
            fields = line.rstrip("\n").split("\t")
            if len(fields) != 2:
                raise DataError(
                    f"Line {number} has {len(fields)} fields; give a folder of examples, a tab, and an image file."
                )
            yield self.predict(fields[0], [fields[1]])[0]

    def _examples(
        self, examples: str | Path | Mapping[str, Sequence[str | Path]]
    ) -> list[tuple[str, np.ndarray]]:
        if isinstance(examples, Mapping):
            return [(name, self._image(Path(path))) for name, paths in examples.items() for path in paths]
        shown: list[tuple[str, np.ndarray]] = []
        for name, file, content in images.list_images(Path(examples)):
            try:
                shown.append((name, images.decode(content, self.ink)))
            except ValueError as error:
                raise DataError(f"{file} cannot be read as an image: {error}.") from error
        return shown

    def _image(self, path: Path) -> np.ndarray:
        try:
            return images.decode(path.read_bytes(), self.ink)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read as an image: {error}.") from error


def save(folder: str | Path, model: FewShotSnail, ink: Ink, trained: Mapping[str, Any]) -> None:
    """Write a model folder; raises ModelFolderError where it cannot be written."""
    config = FewShotConfig(
        model=model.settings, ways=model.ways, shots=model.shots, ink=ink, trained=dict(trained)
    )
    write(folder, config, model)


def read(path: str | Path) -> FewShotSnail:
    """Read the model of a folder; raises ModelFolderError where it is missing, damaged or of another task."""
    return _read(path)[0]


def load(path: str | Path, device: str = "auto") -> Namer:
    """Load a model folder, or the model of a run folder, ready to name images. Raises ModelFolderError."""
    model, config = _read(path)
    return Namer(model.to(resolve_device(device)), config.ink)


def _read(path: str | Path) -> tuple[FewShotSnail, FewShotConfig]:
    folder, config = opened(path, FewShotConfig)
    return read_model(folder, lambda: FewShotSnail(config.model, config.ways, config.shots)), config


def _ink(stored: Sequence[np.ndarray]) -> torch.Tensor:
    """Images (28, 28) of stored ink -> (1, images, 28, 28), 0 to 1."""
    return torch.from_numpy(np.stack(stored)).unsqueeze(0).float() / 255
