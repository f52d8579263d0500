"""The model folder of a language model, and the model that writes.

    tokenizer.json         what it reads

Beside what every model folder has.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from heedful.decoding import SearchSettings
from heedful.errors import DataError, ModelFolderError, RecipeError
from heedful.inference import Precision
from heedful.machine import resolve_device
from heedful.models.decoder_only import DecoderOnlySettings, DecoderOnlyTransformer
from heedful.tasks.continuing import CHOICES, Continuation, continuations
from heedful.tasks.engine import Engine, EngineKind
from heedful.tasks.model_folder import (
    CONFIG,
    TOKENIZER,
    ModelConfig,
    opened,
    read_model,
    read_tokenizer,
    write,
)
from heedful.text import Tokenizer
from heedful.text.special import START, UNKNOWN

_LONGEST_LINE = 256  # tokens of an answer to a line


class LanguageConfig(ModelConfig):
    """What config.json holds of a language model."""

    files = (TOKENIZER,)
    use = """    heedful generate PATH --prompt "To be"

In Python:

    import heedful
    model = heedful.load("PATH")
    print(model.generate("To be", tokens=200, seed=1)[0].text)
"""

    task: Literal["language-modelling"] = Field(
        default="language-modelling", description="what the model does"
    )
    model: DecoderOnlySettings = Field(description="architecture and dimensions")
    vocabulary: int = Field(ge=5, description="entries of the vocabulary")
    window: int = Field(ge=2, description="tokens that it was trained to read together")
    begins: bool = Field(
        description="whether it knows how texts begin: it was trained on more than one document"
    )

    def title(self) -> str:
        """What the model is for, for its card."""
        return "a language model"

    def facts(self) -> dict[str, Any]:
        """What its card says beside its settings."""
        return {"vocabulary": self.vocabulary, "window": self.window}


@dataclass(frozen=True)
class Generated:
    """A text that goes on from a prompt.

    text: what comes after the prompt
    log_probability: of it, in nats, by the model's own distribution
    tokens: of it, with the end, if it ended
    finished: whether it ended by itself, or where it should stop, rather than at its longest length
    """

    prompt: str
    text: str
    log_probability: float
    tokens: int
    finished: bool

    def __str__(self) -> str:
        return self.prompt + self.text

    @property
    def line(self) -> str:
        """Prompt and text, up to the end of the line that it ends in."""
        return str(self).rstrip("\n").replace("\n", " ")

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values that JSON can hold."""
        return asdict(self)


class LanguageModel:
    """A language model with its tokenizer, ready to write.

    engine: what computes the steps; the fastest that is exact when None
    """

    def __init__(
        self,
        model: DecoderOnlyTransformer,
        tokenizer: Tokenizer,
        window: int,
        begins: bool,
        device: str = "cpu",
        engine: Engine | None = None,
    ) -> None:
        self.model, self.tokenizer, self.device = model.to(device).eval(), tokenizer, device
        self.window, self.begins, self.engine = window, begins, engine or Engine()

    def generate(
        self, prompt: str = "", *, tokens: int = 200, samples: int = 1, **choices: Any
    ) -> list[Generated]:
        """Go on from a prompt.

        tokens: the longest text, in tokens
        samples: how many texts, each drawn for itself
        choices: temperature, top_k (1 takes the likeliest), top_p, seed, repetition_penalty, no_repeat_ngram, ...: any
            field of `heedful.decoding.SearchSettings` in `heedful.tasks.continuing.CHOICES`

        The same seed gives the same texts, and sample n does not depend on how many there are. Raises DataError for a
        prompt with what the tokenizer cannot read, and RecipeError for choices that there are not.
        """
        return self._generate(prompt, tokens, range(samples), (), choices)

    def stream(self, lines: Iterable[str]) -> Iterator[Generated]:
        """Complete lines: each is a prompt, and what is given goes to the end of that line."""
        for number, line in enumerate(lines):
            yield self._generate(line.rstrip("\r\n"), _LONGEST_LINE, [number], self._line_ends, {})[0]

    def encode(self, prompt: str) -> list[int]:
        """Give the tokens that the model goes on from.

        A model that knows how texts begin reads the prompt as the beginning of one, any other as that of a line.
        """
        if self.begins:
            ids = [START, *self.tokenizer.encode(prompt)]
        else:
            # As in `data.token_stream`: the space that any text begins with is a word of its own before a line feed.
            ids = self.tokenizer.encode("\n" + prompt)[self.tokenizer.leading :]
        if UNKNOWN in ids:
            words = (word for word in self.tokenizer.words(prompt) if UNKNOWN in self.tokenizer.segment(word))
            unknown = next(words, None)
            if unknown is not None:
                unseen = [letter for letter in unknown if UNKNOWN in self.tokenizer.segment(letter)]
                raise DataError(
                    f"The prompt has {''.join(unseen) or unknown!r}, which the model has never seen; leave it out, or "
                    "train with tokenizer.byte_fallback = true."
                )
        return ids

    def _generate(
        self,
        prompt: str,
        tokens: int,
        numbers: Sequence[int],
        stops: Collection[int],
        choices: Mapping[str, Any],
    ) -> list[Generated]:
        settings = _sampling(len(numbers), choices)
        if tokens < 1:
            raise RecipeError(f"tokens is {tokens}; a text has at least one.")
        ids = self.encode(prompt)
        model = self.engine.of_texts(self.model)
        found = continuations(model, ids, settings, tokens, self.window, numbers, stops)
        return [self._text(prompt, ids, each) for each in found]

    def _text(self, prompt: str, ids: list[int], found: Continuation) -> Generated:
        # Together with the prompt, since by itself a text would lose the space that it begins with.
        before, whole = self.tokenizer.decode(ids), self.tokenizer.decode([*ids, *found.tokens])
        text = whole[len(before) :]
        if found.stopped:
            text = text.removesuffix("\n")
        return Generated(
            prompt,
            text,
            sum(found.log_probabilities),
            len(found.log_probabilities),
            found.ended or found.stopped,
        )

    @cached_property
    def _line_ends(self) -> frozenset[int]:
        """The tokens with a line feed."""
        return frozenset(
            token for token in range(len(self.tokenizer)) if "\n" in self.tokenizer.decode([token])
        )


def _sampling(samples: int, choices: Mapping[str, Any]) -> SearchSettings:
    if other := sorted(set(choices) - CHOICES):
        raise RecipeError(f"{other[0]} is no choice of sampling; there are {', '.join(sorted(CHOICES))}.")
    try:
        return SearchSettings.model_validate({"method": "sample", "n_best": samples, **choices})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"])).replace("n_best", "samples")
        said = first["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
        raise RecipeError(f"{name} is {first['input']!r}, but {said}." if name else f"{said}.") from error


def save(
    folder: str | Path,
    model: DecoderOnlyTransformer,
    tokenizer: Tokenizer,
    window: int,
    begins: bool,
    trained: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model folder, in place of one that is there; give its path. Raises ModelFolderError."""
    config = LanguageConfig(
        model=model.settings,
        vocabulary=len(tokenizer),
        window=window,
        begins=begins,
        trained=dict(trained or {}),
    )
    return write(folder, config, model, tokenizer)


def load(
    path: str | Path, device: str = "auto", engine: EngineKind = "auto", precision: Precision = "float32"
) -> LanguageModel:
    """Read a model folder, or that of a run folder.

    device: "cpu", "cuda", "cuda:1", ...; "auto" is the GPU where there is one
    engine, precision: see `heedful.tasks.engine.Engine`

    Raises ModelFolderError for everything that is missing, damaged, of another format, or does not belong together, and
    HeedfulError for an engine that there is not.
    """
    folder, config = opened(path, LanguageConfig)
    tokenizer = read_tokenizer(folder, config.vocabulary)
    if config.window > 2 * config.model.maximum_length:
        raise ModelFolderError(
            f"{folder / CONFIG}: window is {config.window}, more than twice model.maximum_length "
            f"({config.model.maximum_length})."
        )
    model = read_model(
        folder, lambda: DecoderOnlyTransformer(config.model, config.vocabulary, config.vocabulary)
    )
    return LanguageModel(
        model, tokenizer, config.window, config.begins, resolve_device(device), Engine(engine, precision)
    )
