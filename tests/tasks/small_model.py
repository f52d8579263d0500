"""A page of text, and a model small enough for a test."""

import torch

from heedful.models import ModelSettings, SequenceToSequence, TransformerSettings, build
from heedful.text import END

ENGLISH = [
    "A man rides a brown horse.",
    "Two dogs play in the snow; a child looks on.",
    "The woman, who wears a red hat, reads a book.",
    "Three people are standing near the old bridge!",
    "Is the boy drinking water?",
]
GERMAN = [
    "Ein Mann reitet ein braunes Pferd.",
    "Zwei Hunde spielen im Schnee; ein Kind schaut zu.",
    "Die Frau, die einen roten Hut trägt, liest ein Buch.",
    "Drei Menschen stehen bei der alten Brücke!",
    "Trinkt der Junge Wasser?",
]
SETTINGS = TransformerSettings(
    d_model=16, d_ff=32, heads=2, encoder_layers=2, decoder_layers=3, maximum_length=48
)


def random_model(
    settings: ModelSettings, source_vocabulary: int, target_vocabulary: int, seed: int = 0
) -> SequenceToSequence:
    """A model with an opinion: larger weights than a new one has, so that answers differ, are clear, and some end."""
    torch.manual_seed(seed)
    model = build(settings, source_vocabulary, target_vocabulary)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter *= 2.5
        model.output.weight[END] *= 4
    return model.eval()
