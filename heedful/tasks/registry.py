"""Every task by the name that recipes and model folders know it by.

What a task needs is imported when it is asked for: reading a recipe must not load every model.
"""

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heedful.tasks.face import Task, TaskSettings
    from heedful.tasks.model_folder import ModelConfig


@dataclass(frozen=True)
class TaskKind:
    """Where the parts of a task are, each as "module:name" below `heedful.tasks`.

    settings: what a recipe says of it, a `TaskSettings`
    task: its `Task`
    config: what a model folder of it says, a `ModelConfig`
    load: from a model folder to what answers, a `Predictor`
    """

    settings: str
    task: str
    config: str
    load: str


TASKS = {
    "translation": TaskKind(
        "translation:TranslationSettings",
        "translation:Translation",
        "translation_folder:TranslationConfig",
        "translator:load",
    ),
    "language-modelling": TaskKind(
        "language_modelling:LanguageSettings",
        "language_modelling:LanguageModelling",
        "language_modelling_folder:LanguageConfig",
        "language_modelling_folder:load",
    ),
    "masked-language-modelling": TaskKind(
        "masked_language_modelling:MaskedSettings",
        "masked_language_modelling:MaskedLanguageModelling",
        "masked_language_modelling_folder:MaskedConfig",
        "masked_language_modelling_folder:load",
    ),
    "recall": TaskKind(
        "recall:RecallSettings", "recall:Recall", "recall_folder:RecallConfig", "recall_folder:load"
    ),
    "few-shot": TaskKind(
        "few_shot:FewShotSettings",
        "few_shot:FewShot",
        "few_shot_folder:FewShotConfig",
        "few_shot_folder:load",
    ),
    "classification": TaskKind(
        "classification:ClassificationSettings",
        "classification:Classification",
        "classification_folder:ClassificationConfig",
        "classification_folder:load",
    ),
    "tagging": TaskKind(
        "tagging:TaggingSettings", "tagging:Tagging", "tagging_folder:TaggingConfig", "tagging_folder:load"
    ),
    "answering": TaskKind(
        "answering:AnsweringSettings",
        "answering:Answering",
        "answering_folder:AnsweringConfig",
        "answering_folder:load",
    ),
    "bandits": TaskKind(
        "bandits:ActingSettings", "bandits:Acting", "bandits_folder:ActingConfig", "bandits_folder:load"
    ),
    "contrastive": TaskKind(
        "contrastive:ContrastiveSettings",
        "contrastive:Contrastive",
        "contrastive_folder:ContrastiveConfig",
        "contrastive_folder:load",
    ),
}


def settings_of(name: str) -> "type[TaskSettings]":
    """The class of a task's settings."""
    return _part(TASKS[name].settings)


def task_of(name: str) -> "type[Task]":
    """The class of a task."""
    return _part(TASKS[name].task)


def config_of(name: str) -> "type[ModelConfig]":
    """The class of what config.json holds."""
    return _part(TASKS[name].config)


def load(path: str | Path, **options: Any) -> Any:
    """Load a model folder, or the model of a run folder, ready to answer.

    options: of the task's own `load`, such as `device`: see `heedful.tasks.translator.load` for translation models

    Raises ModelFolderError for a folder that is missing, damaged, or of a task that this heedful does not know.
    """
    from heedful.errors import ModelFolderError
    from heedful.tasks.model_folder import name_of_task

    name = name_of_task(path)
    if name not in TASKS:
        raise ModelFolderError(
            f"The model in {path} is for the task {name!r}; this heedful knows {', '.join(TASKS)}."
        )
    return _part(TASKS[name].load)(path, **options)


def _part(place: str) -> Any:
    module, name = place.split(":")
    return getattr(import_module(f"heedful.tasks.{module}"), name)
