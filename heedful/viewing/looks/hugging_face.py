"""Looking into models of Hugging Face's `transformers`, out of a folder on this machine.

    look(FromHub.read("bert-base-uncased"), "The couch is a sofa.")
    look(FromHub(model, tokenizer), "The couch is a sofa.")

Models that read text: encoders, decoders, and both. Nothing is downloaded, no code of a folder is run, and weights in
pickles are not read. They stay on their fast attention; see `heedful.interop`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import heedful.interop  # noqa: F401 -- whose models `observe` then hears
from heedful.attention import observe
from heedful.errors import HeedfulError, ModelFolderError
from heedful.machine import resolve_device
from heedful.text import byte_level
from heedful.viewing.letters import readable
from heedful.viewing.looks.examples import sentence
from heedful.viewing.looks.maps import Place, maps_of, steps_of
from heedful.viewing.looks.opened import Ask, Opened, evaluating, run_of
from heedful.viewing.looks.text import alone, check_tokens, listed
from heedful.viewing.scene import Axis, Scene, Token

_SHOWN = 5
_LONGEST_ANSWER = 200  # tokens
# What config.json calls models, and which of the library's classes reads them with their head.
_HEADS = {
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
    "ForMaskedLM": "AutoModelForMaskedLM",
    "ForPreTraining": "AutoModelForMaskedLM",
    "ForConditionalGeneration": "AutoModelForSeq2SeqLM",
    "MTModel": "AutoModelForSeq2SeqLM",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForQuestionAnswering": "AutoModelForQuestionAnswering",
}


@dataclass
class FromHub:
    """A model of transformers with its tokenizer."""

    model: Any
    tokenizer: Any

    @classmethod
    def read(cls, folder: str | Path, device: str = "auto") -> "FromHub":
        """Read a folder that `save_pretrained` wrote.

        Raises ModelFolderError for what cannot be read, and HeedfulError where transformers is missing.
        """
        try:
            import transformers
        except ImportError as error:
            raise HeedfulError(
                "Looking into this folder needs the package transformers: pip install 'heedful[hf]'."
            ) from error
        folder = Path(folder).expanduser()
        safe: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            with _quiet(transformers.utils.logging):
                config = transformers.AutoConfig.from_pretrained(folder, **safe)
                kind = getattr(transformers, _class_of(config))
                model = kind.from_pretrained(folder, config=config, use_safetensors=True, **safe)
                tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **safe)
        except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise ModelFolderError(f"{folder} cannot be read by transformers: {first}") from error
        return cls(model.to(resolve_device(device)).eval(), tokenizer)


class OpenFromHub(Opened):
    """A model of transformers that reads text, open to be looked into."""

    def __init__(self, model: FromHub) -> None:
        self.model, self.network, self.tokenizer = model, model.model, model.tokenizer
        config = self.network.config
        self.task = "transformers"
        self.title = type(self.network).__name__
        self.both = bool(getattr(config, "is_encoder_decoder", False))
        mask = self.tokenizer.mask_token
        if self.both:
            self.asks = (
                Ask("source", "Source", example=sentence("en")),
                Ask("target", "Target", optional=True),
            )
        else:
            title = f"Text, with {mask} for what is to be guessed" if mask and self._guesses else "Text"
            example = sentence("en").replace("rides", mask) if mask and self._guesses else sentence("en")
            second = (Ask("second", "Second text", optional=True),) if self._pairs else ()
            self.asks = (Ask("text", title, example=example), *second)

    @property
    def _guesses(self) -> bool:
        return type(self.network).__name__.endswith(("ForMaskedLM", "ForPreTraining"))

    @property
    def _pairs(self) -> bool:
        """Whether it tells a second text apart."""
        return "token_type_ids" in self.tokenizer.model_input_names and not self._causal

    @property
    def _causal(self) -> bool:
        name = type(self.network).__name__
        return name.endswith(("ForCausalLM", "LMHeadModel")) or bool(
            getattr(self.network.config, "is_decoder", False)
        )

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _look(self, texts: dict[str, str], **_: Any) -> Scene:
        return self._two(texts) if self.both else self._one(texts)

    def _one(self, texts: dict[str, str]) -> Scene:
        """An encoder, or a decoder alone."""
        network, given = self.network, [each for each in texts.values() if each.strip()]
        encoded = self._encoded(*given)
        read = {name: torch.tensor([encoded[name]], device=self._device) for name in _inputs(encoded)}
        causal = self._causal or self._is_stack_of_decoder()
        # The model without its head: logits of a long text are large.
        body = network.base_model
        with torch.no_grad(), evaluating(network), observe(network) as seen:
            body(**read, **_without_cache(body))
        maps = maps_of(network, seen, alone("decoder" if causal else "encoder"))
        axes = {"text": Axis("text", "Text", tuple(_tokens(self.tokenizer, encoded)))}
        embedding = network.get_input_embeddings()
        scene: dict[str, Any] = {"inputs": {"text": embedding} if isinstance(embedding, nn.Module) else {}}
        if network.get_output_embeddings() is not None:
            scene |= self._guessed(read, encoded["input_ids"], causal)
        elif hasattr(network.config, "id2label") and type(network).__name__.endswith(
            "ForSequenceClassification"
        ):
            scene |= self._labelled(read, axes)
        return Scene(model=self.title, texts=texts, axes=axes, maps=maps, steps=steps_of(maps), **scene)

    def _guessed(self, read: dict[str, Tensor], ids: list[int], causal: bool) -> dict[str, Any]:
        """What a language model says: of a causal one what follows, of a masked one what is in the holes."""
        network, tokenizer = self.network, self.tokenizer
        few = {"logits_to_keep": 1} if causal and _keeps_few(network) else {}
        holes = (
            [] if causal else [place for place, token in enumerate(ids) if token == tokenizer.mask_token_id]
        )
        taken, answer = list(ids), ""
        if causal or holes:
            with torch.no_grad(), evaluating(network):
                logits = network(**read, **_without_cache(network), **few).logits[0]
            chances = logits[[-1] if causal else holes].float().softmax(-1)
            best = chances[0].topk(min(_SHOWN, chances.shape[-1])) if causal else chances.max(-1)
            names = [_shown(tokenizer, token) for token in best.indices.tolist()]
            answer = listed("Next" if causal else "In the holes", names, best.values.tolist())
            for place, token in zip(holes, best.indices.tolist(), strict=False):
                taken[place] = token
            if causal:
                taken = [*ids[1:], int(best.indices[0])]
        return {
            "run": run_of(network, lambda rows: network(**read, **_without_cache(network)).logits[0, rows]),
            "outputs": ("text", taken),
            "facts": {"taken": [_shown(tokenizer, token) for token in taken]},
            "answer": answer,
        }

    def _labelled(self, read: dict[str, Tensor], axes: dict[str, Axis]) -> dict[str, Any]:
        """What a classifier says."""
        network = self.network
        with torch.no_grad(), evaluating(network):
            chances = network(**read).logits[0].float().softmax(-1)
        best = chances.topk(min(_SHOWN, len(chances)))
        names = [str(network.config.id2label[label]) for label in best.indices.tolist()]
        axes["label"] = Axis("label", "Label", (Token(names[0], 0),))
        return {
            "run": run_of(network, lambda rows: network(**read).logits[rows]),
            "outputs": ("label", [int(best.indices[0])]),
            "facts": {"taken": names[:1]},
            "answer": listed("Label", names, best.values.tolist()),
        }

    def _two(self, texts: dict[str, str]) -> Scene:
        """An encoder and a decoder."""
        network, tokenizer = self.network, self.tokenizer
        encoded = self._encoded(texts["source"])
        source = torch.tensor([encoded["input_ids"]], device=self._device)
        start, end = network.config.decoder_start_token_id, network.config.eos_token_id
        if start is None:
            raise HeedfulError(
                "This model's config.json has no decoder_start_token_id: nobody knows how it begins."
            )
        forced = texts["target"].strip()
        with torch.no_grad(), evaluating(network):
            if forced:
                said = list(tokenizer(text_target=texts["target"])["input_ids"])
            else:
                longest = min(_LONGEST_ANSWER, _longest(network) or _LONGEST_ANSWER)
                said = network.generate(source, max_length=longest)[0].tolist()[1:]
            predicted = said if said and said[-1] == end else [*said, end]
            check_tokens(predicted, _longest(network), "The target")
            read = torch.tensor([[start, *predicted[:-1]]], device=self._device)
            with observe(network) as seen:
                logits = network(input_ids=source, decoder_input_ids=read, use_cache=False).logits[0]
        chances = logits.float().log_softmax(-1)[range(len(predicted)), predicted].tolist()
        maps = maps_of(network, seen, _of_two)
        answer = tokenizer.decode(said, skip_special_tokens=True)
        written = _pieces(tokenizer, predicted, answer)
        before = _pieces(tokenizer, read[0].tolist(), answer)
        stacks = network.get_encoder(), network.get_decoder()
        first, second = (stack.get_input_embeddings() for stack in stacks)
        return Scene(
            model=self.title,
            texts=texts,
            axes={
                "source": Axis("source", "Source", tuple(_tokens(tokenizer, encoded))),
                "target": Axis("target", "Target", tuple(written)),
                "read": Axis("read", "Target, read so far", tuple(before)),
            },
            maps=maps,
            steps=steps_of(maps, lambda axis: "read" if axis == "target" else axis),
            run=run_of(
                network,
                lambda rows: network(input_ids=source, decoder_input_ids=read, use_cache=False).logits[
                    0, rows
                ],
            ),
            # One module for both is called twice, and nobody could tell which vectors are whose.
            inputs={} if first is second else {"source": first, "read": second},
            outputs=("target", predicted),
            answer=answer,
            facts={
                "taken": [_shown(tokenizer, token) for token in predicted],
                "log_probability": sum(chances),
                "forced": bool(forced),
            },
        )

    def _encoded(self, *texts: str) -> Any:
        """Give the tokenizer's encoding of a text, or of a pair. Raises DataError for one that is too long."""
        encoded = self.tokenizer(*texts, verbose=False)
        check_tokens(encoded["input_ids"], _longest(self.network), "The text")
        return encoded

    def _is_stack_of_decoder(self) -> bool:
        """Whether modules of a model without a head say that they are causal, as those of GPT2Model do."""
        return any(getattr(module, "is_causal", False) for module in self.network.modules())


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Without the bar that shows how weights are loaded."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _class_of(config: Any) -> str:
    """Give the name of the class that reads a model with the head it was saved with."""
    for name in getattr(config, "architectures", None) or ():
        for ending, kind in _HEADS.items():
            if name.endswith(ending):
                return kind
    return "AutoModel"


def _inputs(encoded: Any) -> list[str]:
    """Give what the model is given; no mask, since there is no padding, and its fast kernel needs none."""
    return [name for name in encoded if name in ("input_ids", "token_type_ids")]


def _without_cache(network: Any) -> dict[str, Any]:
    return {"use_cache": False} if hasattr(network.config, "use_cache") else {}


def _keeps_few(network: Any) -> bool:
    import inspect

    return "logits_to_keep" in inspect.signature(network.forward).parameters


def _longest(network: Any) -> int | None:
    """Give how many tokens it can read at once; None where positions have no end."""
    config = network.config
    if getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None):
        return None
    found = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    # RoBERTa counts its positions from the one after padding.
    offset = (
        (config.pad_token_id or 0) + 1 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0
    )
    return found - offset if isinstance(found, int) and found > 0 else None


def _of_two(name: str) -> Place:
    """Say where a module of an encoder-decoder stands, by its name."""
    parts = name.lower().split(".")
    if any("cross" in part or part in ("encoder_attn", "encdecattention") for part in parts):
        return "cross", "target", "source"
    return ("encoder", "source", "source") if "encoder" in parts else ("decoder", "target", "read")


def _tokens(tokenizer: Any, encoded: Any) -> list[Token]:
    """Give the tokens of an encoding, with words where a fast tokenizer knows them; of a second text counted on."""
    ids = encoded["input_ids"]
    if not getattr(tokenizer, "is_fast", False):
        return _pieces(tokenizer, ids, "")
    words, sequences = encoded.word_ids(), encoded.sequence_ids()
    first = 1 + max(
        (word for word, of in zip(words, sequences, strict=True) if word is not None and of == 0), default=-1
    )
    special = set(tokenizer.all_special_ids)
    return [
        Token(
            _shown(tokenizer, token),
            word if word is None or not of else word + first,
            _is_special(tokenizer, token, special),
        )
        for token, word, of in zip(ids, words, sequences, strict=True)
    ]


def _pieces(tokenizer: Any, ids: Sequence[int], text: str) -> list[Token]:
    """Give tokens without an encoding: a word begins where the tokenizer marks a space before it."""
    special = set(tokenizer.all_special_ids)
    found: list[Token] = []
    word = -1
    for token in ids:
        if _is_special(tokenizer, token, special):
            found.append(Token(_shown(tokenizer, token), special=True))
            continue
        piece = str(tokenizer.convert_ids_to_tokens(token))
        begins = piece.startswith(_SPACES) or (word == -1)
        word += begins
        found.append(Token(_shown(tokenizer, token), word))
    return found


_SPACES = ("▁", "Ġ")


def _is_special(tokenizer: Any, token: int, special: set[int]) -> bool:
    return token in special and token not in (tokenizer.mask_token_id, tokenizer.unk_token_id)


def _shown(tokenizer: Any, token: int) -> str:
    """Give the text of one token, without the marks of WordPiece and SentencePiece; bytes of GPT-2 as characters.

    Bytes that are no whole character are named as SentencePiece names them, <0xE7>.
    """
    piece = str(tokenizer.convert_ids_to_tokens(token))
    if token in tokenizer.all_special_ids:
        return piece
    if piece.startswith("##"):
        return piece[2:]
    text = piece.replace("▁", " ") if "▁" in piece else tokenizer.decode([token])
    if "\ufffd" in text and text != piece:
        known = all(character in byte_level.ALPHABET for character in piece)
        text = readable(byte_level.spelt(piece)) if known else piece
    return text.strip(" ") or (" " if text else piece)
