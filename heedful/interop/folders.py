"""Whole folders of `transformers` as model folders, and back: model and tokenizer together.

    import_folder("bert-base-uncased", "models/bert")       # then: heedful fill-mask models/bert "The [MASK] sat."
    import_folder("gpt2", "models/gpt2")                    # then: heedful generate models/gpt2 --prompt "To be"
    export_folder("runs/bert-base", "for-transformers")     # then: AutoModelForMaskedLM.from_pretrained(...)

Entries of the vocabulary change their places (heedful.interop.hf_tokenizer), and rows of the weights with them, so that
the same text gives the same numbers.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from heedful.errors import ModelFolderError
from heedful.interop import bert, gpt2, hf_folder, hf_tokenizer
from heedful.interop.hf_tokenizer import Read
from heedful.models.decoder_only import DecoderOnlyTransformer
from heedful.tasks import language_modelling_folder, masked_language_modelling_folder
from heedful.tasks.model_folder import find, name_of_task
from heedful.text.special import END, PAD, START, UNKNOWN

_NEVER = -10_000.0
"""The logit of an entry that is never said."""

# Weights that have a row for each entry.
_OF_ENTRIES = {
    "bert": (
        "embeddings.word_embeddings.weight",
        "cls.predictions.decoder.weight",
        "cls.predictions.decoder.bias",
        "cls.predictions.bias",
    ),
    "gpt2": ("wte.weight", "lm_head.weight"),
}


def import_folder(folder: str | Path, to: str | Path) -> Path:
    """Make a model folder of a BERT or a GPT-2 of `transformers`; give its path.

    A BERT becomes a masked language model, a GPT-2 a language model. Raises ModelFolderError for what is missing or
    damaged, for another model, and for a model or tokenizer that does what heedful's does not, naming it.
    """
    config, weights = hf_folder.read(folder)
    family = config.get("model_type")
    if family not in _OF_ENTRIES:
        raise ModelFolderError(
            f"{folder} holds a model of type {family!r}; heedful imports {', '.join(_OF_ENTRIES)}."
        )
    entries = config.get("vocab_size")
    if not isinstance(entries, int):
        raise ModelFolderError(f"{folder}: {hf_folder.CONFIG} lacks 'vocab_size'.")
    read = hf_tokenizer.read(folder, family, entries)
    weights = _placed(weights, read, _OF_ENTRIES[family])
    config = {**config, "vocab_size": len(read.rows), "pad_token_id": PAD}
    facts = {"data": f"what {Path(folder).name} was trained on", "imported from": f"transformers, {family}"}
    if family == "bert":
        model = bert.from_weights(config, weights, str(folder))
        return masked_language_modelling_folder.save(to, model, read.tokenizer, facts)
    if read.silent:
        weights["lm_head.bias"] = torch.zeros(len(read.rows))
        weights["lm_head.bias"][list(read.silent)] = _NEVER
    model = gpt2.from_weights(config, weights, str(folder))
    window = 2 * model.maximum_length
    return language_modelling_folder.save(to, model, read.tokenizer, window, True, facts)


def export_folder(model: str | Path, to: str | Path) -> Path:
    """Write a folder that AutoTokenizer and the AutoModel classes load, of a model folder or a run; give its path.

    For masked language models that are BERTs, and language models that are GPT-2s. Raises ModelFolderError for others,
    naming what keeps them from being one.
    """
    folder, task = find(model), name_of_task(model)
    if task == "masked-language-modelling":
        filler = masked_language_modelling_folder.load(folder, "cpu")
        config, weights = bert.to_weights(filler.model)
        written = hf_folder.write(to, config, weights)
        hf_tokenizer.write(filler.tokenizer, written, begins=True, ends=True)
        return written
    if task == "language-modelling":
        writer = language_modelling_folder.load(folder, "cpu")
        without = _never_said(writer.model)
        config, weights = gpt2.to_weights(_said(writer.model))
        kept = [entry for entry in range(config["vocab_size"]) if entry not in without]
        weights = {
            name: weight[kept] if name.removeprefix("transformer.") in _OF_ENTRIES["gpt2"] else weight
            for name, weight in weights.items()
        }
        config |= {
            "vocab_size": len(kept),
            "bos_token_id": kept.index(END if START in without else START),
            "eos_token_id": kept.index(END),
        }
        config |= {} if PAD in without else {"pad_token_id": kept.index(PAD)}
        written = hf_folder.write(to, config, weights)
        hf_tokenizer.write(writer.tokenizer, written, begins=writer.begins, ends=False, without=without)
        return written
    raise ModelFolderError(
        f"{folder} holds a model for {task}; only (masked) language models have a counterpart in transformers that "
        "heedful writes."
    )


def _placed(weights: Mapping[str, Tensor], read: Read, of_entries: tuple[str, ...]) -> dict[str, Tensor]:
    """The weights with their rows as `read` has them; zeros for an entry that they do not have."""
    there = torch.tensor([0 if row is None else row for row in read.rows])
    missing = [place for place, row in enumerate(read.rows) if row is None]
    placed: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if name.endswith(of_entries):
            if len(weight) <= int(there.max()):
                raise ModelFolderError(f"{name} has {len(weight)} rows, fewer than the vocabulary.")
            weight = weight[there]
            weight[missing] = 0
        placed[name] = weight
    return placed


def _never_said(model: DecoderOnlyTransformer) -> tuple[int, ...]:
    """Entries that were put there for a GPT-2 that does not have them, and are as they were."""
    bias, table = model.output.bias, model.embedding.table.weight
    if bias is None:
        return ()
    silent = (bias == _NEVER).nonzero().squeeze(1).tolist()
    others = torch.ones_like(bias, dtype=torch.bool).index_fill(
        0, torch.tensor(silent, dtype=torch.long), False
    )
    if bias[others].any() or not set(silent) <= {PAD, START, UNKNOWN}:
        raise ModelFolderError("This model is no GPT-2 of transformers: output_bias = True (must be False).")
    if START in silent and not torch.equal(table[START], table[END]):
        raise ModelFolderError(
            "This model is no GPT-2 of transformers: the beginning of a text has another vector than its end."
        )
    return tuple(silent)


def _said(model: DecoderOnlyTransformer) -> DecoderOnlyTransformer:
    """The model without the numbers that keep entries from being said."""
    if model.output.bias is None:
        return model
    settings = model.settings.model_copy(update={"output_bias": False})
    plain = DecoderOnlyTransformer(settings, model.output.out_features, model.output.out_features)
    plain.load_state_dict(
        {name: tensor for name, tensor in model.state_dict().items() if name != "output.bias"}
    )
    return plain
