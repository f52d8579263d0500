"""`heedful import`: a model of `transformers` as a model folder."""

from pathlib import Path
from typing import Annotated

import typer


def import_(
    folder: Annotated[
        Path, typer.Argument(help="A folder that save_pretrained wrote, or a download of one.")
    ],
    save: Annotated[Path, typer.Option(help="The model folder to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the model in that folder.")] = False,
) -> None:
    """Make a model folder of a BERT or a GPT-2 of transformers, with its tokenizer.

    heedful import bert-base-uncased --save models/bert
    heedful fill-mask models/bert "The [MASK] sat on the mat."
    """
    from heedful.cli.output import check_folder
    from heedful.interop.folders import import_folder

    check_folder(save, overwrite)
    typer.echo(import_folder(folder, save))
