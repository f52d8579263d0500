"""The model folder of a sentence encoder; what is loaded from it is an `Embedder`.

    tokenizer.json         what it reads

Beside what every model folder has.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from heedful.models.encoder import EncoderSettings
from heedful.models.sentence_encoder import SentenceEncoder, TextPooling
from heedful.tasks.embedding import Embedder
from heedful.tasks.embedding import load as load_embedder
from heedful.tasks.model_folder import TOKENIZER, ModelConfig, write
from heedful.text.tokenizer import Tokenizer


class ContrastiveConfig(ModelConfig):
    """What config.json holds of a sentence encoder."""

    files = (TOKENIZER,)
    use = """    heedful embed PATH < documents.txt > vectors.npy
    heedful nearest PATH corpus.txt "a query"

In Python:

    import heedful
    model = heedful.load("PATH")
    model.embed(["A document.", "Another one."])
"""

    task: Literal["contrastive"] = Field(default="contrastive", description="what the model does")
    model: EncoderSettings = Field(description="architecture and dimensions of the encoder")
    pooling: TextPooling = Field(description="how the vectors of tokens become one")
    projection: bool = Field(default=False, description="whether it was trained with a layer more on top")

    def title(self) -> str:
        """What the model is for, for its card."""
        return "vectors of texts"

    def facts(self) -> dict[str, Any]:
        """The pooling."""
        return {"pooling": self.pooling}


def save(
    folder: str | Path,
    model: SentenceEncoder,
    settings: EncoderSettings,
    tokenizer: Tokenizer,
    trained: Mapping[str, Any],
) -> Path:
    """Write a model folder, in place of one that is there; give its path. Raises ModelFolderError."""
    config = ContrastiveConfig(
        model=settings,
        pooling=model.pooling,
        projection=model.output is not None,
        trained=dict(trained),
    )
    return write(folder, config, model, tokenizer)


def load(path: str | Path, device: str = "auto") -> Embedder:
    """Load a model folder, or the model of a run, ready to embed. Raises ModelFolderError."""
    return load_embedder(path, device=device)
