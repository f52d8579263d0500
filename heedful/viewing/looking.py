"""Look into a model: one pass over texts, with everything in it that attended.

    scene = look(load("runs/multi30k-en-de"), "A man rides a horse.")
    scene = look("runs/bert-mlm", "The [MASK] sat on the mat.")
    scene = look(open_model("bert-base-uncased"), "The couch is a sofa.")       # a folder of transformers

`open_model` opens a folder, whatever kind of model is in it; `look` takes that, or what `heedful.load` gives.
"""

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from heedful.errors import DataError, HeedfulError
from heedful.viewing.looks.opened import Ask, Opened
from heedful.viewing.looks.steps import restore
from heedful.viewing.scene import Scene

__all__ = ["Ask", "Opened", "look", "open_model", "opened"]

# What is loaded, and what opens it; imported when it is needed.
_KINDS = {
    "heedful.tasks.translator:Translator": "translation:OpenTranslator",
    "heedful.tasks.language_modelling_folder:LanguageModel": "text:OpenLanguageModel",
    "heedful.tasks.masked_language_modelling_folder:MaskFiller": "text:OpenMaskFiller",
    "heedful.tasks.embedding:Embedder": "text:OpenEmbedder",
    "heedful.tasks.classification_folder:TextClassifier": "fine_tuned:OpenClassifier",
    "heedful.tasks.tagging_folder:SentenceTagger": "fine_tuned:OpenTagger",
    "heedful.tasks.answering_folder:Answerer": "fine_tuned:OpenAnswerer",
    "heedful.tasks.recall_folder:Answerer": "recall:OpenMemory",
    "heedful.tasks.bandits_folder:Agent": "experience:OpenAgent",
    "heedful.tasks.few_shot_folder:Namer": "experience:OpenNamer",
    "heedful.viewing.looks.hugging_face:FromHub": "hugging_face:OpenFromHub",
}


def look(model: Any, text: str | Mapping[str, str], target: str | None = None, **options: Any) -> Scene:
    """Pass over texts once, and keep who attended to whom.

    model: what `heedful.load` or `open_model` gives, or the path of a folder
    text: the first text that the model asks for (`opened(model).asks`); or all of them by name
    target: the second: of a translation model the translation, its own when None; of a reader the text in which it
        finds the answer to `text`
    options: of the kind of model: `rows="reading"` for translation

    Raises DataError for a text that is empty, too long or not asked for, and HeedfulError for a model that does not
    attend.
    """
    open_ = opened(model)
    if isinstance(text, str):
        names = [ask.name for ask in open_.asks]
        if target is not None and len(names) < 2:
            raise DataError(f"This model reads one text, its {names[0]}; there is no second to give it.")
        text = {names[0]: text} | ({} if target is None else {names[1]: target})
    return open_.look(text, **options)


def opened(model: Any) -> Opened:
    """Give a loaded model as one that can be looked into. Raises HeedfulError for what is none."""
    if isinstance(model, Opened):
        return model
    if isinstance(model, str | Path):
        return open_model(model)
    for kind in type(model).__mro__:
        if place := _KINDS.get(f"{kind.__module__}:{kind.__qualname__}"):
            module, name = place.split(":")
            return getattr(import_module(f"heedful.viewing.looks.{module}"), name)(model)
    raise HeedfulError(
        f"There is no way to look into {type(model).__name__}: give a model folder, or what heedful.load gives."
    )


def open_model(path: str | Path, device: str = "auto") -> Opened:
    """Open a folder: of a heedful model, of a run, or of a model of transformers.

    path: "runs/de@3000" is the checkpoint of step 3,000 of the run, if it was kept
    device: "cpu", "cuda", ...; "auto" is the GPU where there is one

    Raises ModelFolderError for a folder that is missing, damaged or something else, and for a checkpoint that the run
    has not.
    """
    from heedful.tasks import load

    folder, step = _at_step(Path(path).expanduser())
    if _of_transformers(folder):
        from heedful.viewing.looks.hugging_face import FromHub

        found = opened(FromHub.read(folder, device))
    else:
        found = opened(load(folder, device=device))
    if step is not None:
        restore(found.network, folder, step)
    found.folder_name = folder.absolute().name + ("" if step is None else f"@{step}")
    return found


def _at_step(path: Path) -> tuple[Path, int | None]:
    """Take "runs/de@3000" apart; a folder that is called so is itself."""
    name, at, step = path.name.rpartition("@")
    if path.exists() or not (at and name and step.isdecimal()):
        return path, None
    return path.with_name(name), int(step)


def _of_transformers(folder: Path) -> bool:
    """Whether a folder's config.json is one of transformers."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False  # what is wrong is told by those who read it
    return isinstance(config, dict) and "model_type" in config and "heedful" not in config
