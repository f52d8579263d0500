"""Where a training begins: anew, or with a model that has learnt already.

    init = "runs/bert-mlm"               # begin with this model and its tokenizer

A model of the same task goes on as a whole: a GPT reads one's own text, a translation model the sentences of one's
own trade. Fine-tuned tasks take its encoder (fine_tuning.py). With `init`, model and tokenizer are those of the
folder, and a recipe need not repeat them: of its `model` only the dropouts count.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import Field, model_validator
from torch import nn

from heedful.errors import ModelFolderError
from heedful.settings import Settings
from heedful.tasks.face import TaskSettings
from heedful.tasks.model_folder import find, name_of_task, read_model
from heedful.tasks.pretrained import read_pretrained
from heedful.text.tokenizer import Tokenizer

Model = TypeVar("Model", bound=nn.Module)


class BegunSettings(TaskSettings):
    """What a task whose model may have learnt already needs of a recipe.

    goes_on: whether all of the model is taken over, which then must be of this task; or its encoder

    Raises ModelFolderError for an `init` that cannot be begun with.
    """

    goes_on: ClassVar[bool] = True

    init: Path | None = Field(
        default=None, description="the model folder or run to begin with; unset: begin anew"
    )
    tokenizer: Any

    @classmethod
    def beginning(cls, init: Path) -> tuple[Settings, Settings]:
        """The settings of the model and of the tokenizer in a folder."""
        start = read_pretrained(init)
        return start.model, start.tokenizer.settings

    @model_validator(mode="before")
    @classmethod
    def _taken_over(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("init") is None:
            return values
        own, task = cls.model_fields["task"].default, name_of_task(values["init"])
        if cls.goes_on and task != own:
            raise ModelFolderError(
                f"{find(values['init'])} cannot be begun with: its model is for {task}, and init needs one for {own}."
            )
        (start, tokenizer), given = cls.beginning(values["init"]), values.get("model") or {}
        if not isinstance(given, dict):
            given = given.model_dump()
        kind = type(start)
        dropouts = {
            name: value
            for name, value in given.items()
            if name.endswith("dropout") and name in kind.model_fields
        }
        model = kind.model_validate({**start.model_dump(), **dropouts})
        return {**values, "model": model, "tokenizer": tokenizer}

    def tokenizer_of(self, texts: Iterable[str]) -> Tokenizer:
        """The tokenizer of `init`; without it, one that is learnt from texts."""
        if self.init is not None:
            return read_pretrained(self.init).tokenizer
        return Tokenizer.train(texts, self.tokenizer)

    def begun(self, make: Callable[[], Model]) -> Model:
        """The model that `make` makes, with the weights of `init` if there is one of the same task."""
        return make() if self.init is None else read_model(find(self.init), make)

    def facts(self) -> dict[str, Any]:
        """What a model folder says of how the training began."""
        return {} if self.init is None else {"begun with": str(self.init)}
