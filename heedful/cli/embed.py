"""`heedful embed`: documents as vectors, by any layer of a model."""

import json
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from heedful.tasks.embedding import Embedded

ModelArgument = Annotated[
    Path, typer.Argument(help="Model folder, or the folder of a run, whose model has Transformer layers.")
]
LayerOption = Annotated[
    str | None,
    typer.Option(
        help="0 is what the first layer reads, -1 the last; 5,6,7,8 beside each other; 5+6 or 0.2*4+0.8*8 mixed.",
        show_default="the last, or the one that the model was trained for",
    ),
]
PoolingOption = Annotated[
    str | None,
    typer.Option(
        help="mean of all tokens; idf: mean in which rare tokens count more; cls: the first token; last: the last.",
        show_default="mean, or the one that the model was trained for",
    ),
]
WindowOption = Annotated[
    int | None,
    typer.Option(min=1, help="Tokens read at once.", show_default="as many as the model can read"),
]


def embed(
    model: ModelArgument,
    input: Annotated[
        Path | None, typer.Option(help="Documents, one a line.", show_default="standard input")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="File to write to.", show_default="standard output")
    ] = None,
    layer: LayerOption = None,
    pooling: PoolingOption = None,
    idf: Annotated[
        Path | None,
        typer.Option(help="Documents in which tokens are counted for idf.", show_default="the input file"),
    ] = None,
    window: WindowOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each document instead of .npy.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output file.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Turn documents, one a line, into vectors: NumPy's .npy, (documents, width) of float32.

    Documents longer than the model's window are read in several, whose tokens
    count alike. A line without a token has the vector of zeros.

    heedful embed runs/bert-mlm --layer 3 --output vectors.npy < documents.txt
    """
    from heedful.errors import HeedfulError
    from heedful.machine import prepare

    if output is None and not as_json and sys.stdout.isatty():
        raise HeedfulError("Vectors are no text for a terminal: add --output vectors.npy, or --json.")
    prepare(threads)  # before PyTorch is loaded
    from heedful.cli.input import lines
    from heedful.cli.output import check, writing
    from heedful.tasks.embedding import load

    if output is not None:
        check(output, overwrite)
    if idf is not None and pooling != "idf":
        raise HeedfulError("--idf is for --pooling idf: add it, or leave --idf out.")
    counted = None
    if pooling == "idf":
        if {input, idf or input} <= {None, Path("-")}:
            raise HeedfulError(
                "Standard input can be read once: name the texts whose words are counted, --idf FILE."
            )
        counted = lines(idf or input)
    embedder = load(model, layer, pooling, counted, window, device)  # pyright: ignore[reportArgumentType]
    answers = embedder.stream(lines(input))
    if as_json:
        with writing(output, overwrite) as text:
            text.writelines(json.dumps(one.to_json(), ensure_ascii=False) + "\n" for one in answers)
    elif output is None:
        write_npy(sys.stdout.buffer, answers, embedder.width)
    else:
        from heedful import durable

        try:
            with durable.replacing(output) as unfinished, unfinished.open("wb") as file:
                write_npy(file, answers, embedder.width)
        except OSError as error:
            raise HeedfulError(f"{output} cannot be written: {error.strerror or error}.") from error


def write_npy(file: IO[bytes], answers: Iterable["Embedded"], width: int) -> None:
    """Write vectors as one array; they wait on the disk until it is known how many there are."""
    import numpy as np

    with tempfile.TemporaryFile() as spool:
        count = 0
        for one in answers:
            spool.write(one.vector.astype("<f4").tobytes())
            count += 1
        header = {"descr": "<f4", "fortran_order": False, "shape": (count, width)}
        np.lib.format.write_array_header_1_0(file, header)
        spool.seek(0)
        shutil.copyfileobj(spool, file)
        file.flush()
