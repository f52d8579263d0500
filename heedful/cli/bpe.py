"""`heedful bpe`: byte-pair encoding at work, to look at."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer


def bpe(
    file: Annotated[
        Path | None, typer.Argument(help="Text to learn from.", show_default="standard input")
    ] = None,
    merges: Annotated[int, typer.Option(min=0, help="Merges to learn.")] = 10,
    top: Annotated[int, typer.Option(min=1, help="Pairs merged for each time of counting.")] = 1,
    min_frequency: Annotated[int, typer.Option(min=1, help="Rarer pairs are not merged.")] = 2,
    words: Annotated[int, typer.Option(min=0, help="Words shown after each step.")] = 8,
    encode: Annotated[str | None, typer.Option(help="Words to segment with what was learnt.")] = None,
) -> None:
    """Learn byte-pair encoding from text, step by step, and print each step.

    Words are what white space separates. This is the definition, for people to
    read; models use a faster way to the same end.

        echo "low lower lowest" | heedful bpe --merges 5 --min-frequency 1 --encode "slow"
    """
    from heedful.cli.input import lines
    from heedful.text.bpe import BytePairEncoding, trace

    counts = Counter(word for line in lines(file) for word in line.split())
    learnt = []
    for step in trace(counts, merges, top=top, min_frequency=min_frequency):
        print(step.render(words))
        learnt += step.merges
    if len(learnt) < merges:
        print(f"After {len(learnt)} merges no pair occurs {min_frequency} times any more.")
    if encode is not None:
        encoding = BytePairEncoding(tuple(learnt))
        for word in encode.split():
            print(f"{word} = {' '.join(map(str, encoding.encode(word)))}")
