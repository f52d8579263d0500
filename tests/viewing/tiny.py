"""A model that reads letters, opened: two layers of causal self-attention with random weights."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from heedful.attention import MultiHeadAttention, Step, masks, observe
from heedful.errors import DataError
from heedful.viewing.looks.opened import Ask, Opened
from heedful.viewing.scene import AttentionMap, Axis, Scene, Token


class Network(nn.Module):
    """Letters -> letters that follow."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(128, 16)
        self.layers = nn.ModuleList(MultiHeadAttention(16, 2, rotary=True) for _ in range(2))

    def forward(self, letters: Tensor) -> Tensor:
        """(1, letters) -> scores (letters, 128)."""
        vectors = self.embedding(letters)
        for layer in self.layers:
            attended, _ = layer(vectors, vectors, mask=masks.causal())
            vectors = vectors + attended
        return (vectors @ self.embedding.weight.T)[0]


class Tiny(Opened):
    """Reads "text"."""

    title, task, folder_name = "Letters </script><script>alert(1)</script>", "letters", "tiny"
    asks = (Ask("text", "Text", example="abc"), Ask("more", "More", optional=True))

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = self.network = Network().eval()
        for parameter in self.network.parameters():
            nn.init.normal_(parameter, std=0.6)
        self.passes = 0

    def _look(self, texts: dict[str, str], **options: Any) -> Scene:
        self.passes += 1
        text = texts["text"]
        if "!" in text:
            raise DataError("This model does not shout.")
        letters = torch.tensor([[min(ord(letter), 127) for letter in text]])
        with observe(self.network) as seen, torch.no_grad():
            self.network(letters)
        axis = Axis("text", "Text", tuple(Token(letter, 0, letter == ".") for letter in text))
        maps = [
            AttentionMap(name, "decoder", layer, "text", "text", seen[name], self.network.layers[layer])
            for layer, name in enumerate(seen)
        ]
        return Scene(
            self.title,
            texts,
            {"text": axis},
            maps,
            [Step(one.record, "text", "text") for one in maps],
            lambda rows=slice(None): self.network(letters)[rows],
            {"text": self.network.embedding},
            ("text", letters[0].roll(-1).tolist()),
            answer="<img src=x onerror=alert(1)>",
            facts={"half": 0.5, "none": float("nan"), "set": {1}},
        )


def texts(text: str) -> Mapping[str, str]:
    """Texts for it."""
    return {"text": text}
