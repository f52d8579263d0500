"""`heedful export`: a model folder for another library."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """What can be written."""

    HUGGING_FACE = "hugging-face"


def export(
    model: Annotated[Path, typer.Argument(help="Model folder, or the folder of a run.")],
    save: Annotated[Path, typer.Option(help="The folder to write.")],
    to: Annotated[Format, typer.Option(help="For whom: transformers of Hugging Face.")] = Format.HUGGING_FACE,
) -> None:
    """Write a (masked) language model and its tokenizer for transformers.

    heedful export runs/bert-mlm --to hugging-face --save for-transformers
    """
    from heedful.interop.folders import export_folder

    typer.echo(export_folder(model, save))
