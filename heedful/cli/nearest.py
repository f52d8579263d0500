"""`heedful nearest`: the documents of a corpus that mean most nearly what a query says."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heedful.cli.embed import LayerOption, ModelArgument, PoolingOption, WindowOption

if TYPE_CHECKING:
    from heedful.evaluation.vectors import Vectors


def nearest(
    model: ModelArgument,
    corpus: Annotated[Path, typer.Argument(help="Documents, one a line.")],
    queries: Annotated[
        list[str] | None, typer.Argument(help="What to look for.", show_default="the lines of standard input")
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Documents to give for a query.")] = 5,
    vectors: Annotated[
        Path | None,
        typer.Option(help="Those of the corpus, as `heedful embed` wrote them with the same options."),
    ] = None,
    whiten: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Let vectors point everywhere alike, so that cosines tell more: 0 takes the corpus's mean off, 1 "
            "gives all directions the same weight; often best: 0.75, with all layers (--layer 0,1,2,3).",
            show_default="as they are",
        ),
    ] = None,
    layer: LayerOption = None,
    pooling: PoolingOption = None,
    window: WindowOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="A line of JSON for each query.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default="all cores")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
) -> None:
    """Find the documents of a corpus whose vectors are nearest to that of each query, by the cosine.

    heedful nearest runs/bert-mlm corpus.txt "a query"

    Each line has the cosine, the number of the line in the corpus, and the
    document. With --pooling idf, tokens are counted in the corpus.
    """
    from heedful.errors import DataError
    from heedful.machine import prepare

    prepare(threads)  # before PyTorch is loaded
    from heedful.cli.input import lines
    from heedful.evaluation.vectors import Whitening
    from heedful.evaluation.vectors import nearest as search
    from heedful.tasks.embedding import load

    if str(corpus) == "-" and not queries:
        raise DataError("Standard input can be read once: name what to look for, or the file of the corpus.")
    documents = list(lines(corpus))
    if not any(document.strip() for document in documents):
        raise DataError(f"{corpus} has no documents: every line is empty.")
    counted = documents if pooling == "idf" else None
    embedder = load(model, layer, pooling, counted, window, device)  # pyright: ignore[reportArgumentType]
    stored = (
        embedder.embed(documents)
        if vectors is None
        else _read(vectors, corpus, len(documents), embedder.width)
    )
    white = None
    if whiten is not None:
        try:
            white = Whitening.fit(stored, whiten)
        except ValueError as error:
            raise DataError(f"{corpus}: {error}; leave --whiten out, or --whiten 0.") from error
        stored = white(stored)
    for query in queries or filter(str.strip, lines(None)):
        wanted = embedder.embed([query])
        places, cosines = search(stored, wanted if white is None else white(wanted), count)
        found = [
            {"cosine": float(cosine), "line": int(place) + 1, "document": documents[place]}
            for place, cosine in zip(places[0], cosines[0], strict=True)
        ]
        if as_json:
            print(json.dumps({"query": query, "nearest": found}, ensure_ascii=False), flush=True)
            continue
        if queries is None or len(queries) > 1:
            print(f"# {query}")
        for one in found:
            print(f"{one['cosine']:.3f}\t{one['line']}\t{one['document']}", flush=True)


def _read(path: Path, corpus: Path, documents: int, width: int) -> "Vectors":
    """The vectors of a corpus, if they are as many and as wide as they must be."""
    import numpy as np

    from heedful.errors import DataError

    try:
        stored = np.load(path, allow_pickle=False)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, EOFError) as error:  # what NumPy says of it is about loading pickles
        raise DataError(f"{path} is not an array that `heedful embed` wrote.") from error
    if getattr(stored, "shape", None) != (documents, width):
        raise DataError(
            f"{path} holds an array of shape {getattr(stored, 'shape', None)}, but {corpus} has {documents} lines and "
            f"the model gives vectors of {width}: embed the corpus again, with the same options."
        )
    return stored
