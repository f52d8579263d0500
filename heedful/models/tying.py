"""Which matrices a model has once: those of its embeddings and of its output.

all      one matrix for the source's words, the target's and the output (Vaswani et al. 2017, section 3.4)
target   one for the target's words and the output; the source's words have their own
none     each its own
"""

from collections.abc import Callable
from typing import Literal

from torch import nn

from heedful.layers.embedding import embedding_table

Tied = Literal["all", "target", "none"]


def word_tables(
    tied: Tied,
    source_vocabulary: int,
    target_vocabulary: int,
    width: int,
    table: Callable[[int, int], nn.Embedding] = embedding_table,
) -> tuple[nn.Embedding, nn.Embedding]:
    """Give the tables of the source's and of the target's words: one and the same if all are tied.

    table: makes one, of so many entries and that width; the target's is made first

    Raises ValueError where all are to be tied and the vocabularies are two.
    """
    if tied == "all" and source_vocabulary != target_vocabulary:
        raise ValueError(
            f"tied='all' needs one vocabulary, got {source_vocabulary} source and {target_vocabulary} target "
            "tokens; use a joint tokenizer or tied='target'."
        )
    target = table(target_vocabulary, width)
    return target if tied == "all" else table(source_vocabulary, width), target


def tie_output(output: nn.Linear, table: nn.Embedding, tied: Tied) -> None:
    """Let an output share the table's matrix; untied, draw its own as that of `embedding_table` is drawn."""
    if tied == "none":
        nn.init.normal_(output.weight, std=table.embedding_dim**-0.5)
    else:
        output.weight = table.weight
