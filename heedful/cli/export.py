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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model in that folder.")] = False,
) -> None:
    """Write a (masked) language model and its tokenizer for transformers.

    heedful export runs/bert-base --to hugging-face --save for-transformers
    """
    from heedful.cli.output import check_folder
    from heedful.interop.folders import export_folder

    check_folder(save, overwrite)
    typer.echo(export_folder(model, save))
