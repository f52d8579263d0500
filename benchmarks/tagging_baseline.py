"""The other side of tagging: a conditional random field over hand-made features of words (sklearn-crfsuite).

    python benchmarks/tagging_baseline.py wnut17
    python benchmarks/tagging_baseline.py wikigold broad_twitter --fold 0

The features are the usual ones (the tutorial of sklearn-crfsuite, and what most shared tasks' baselines have): the
word in lower case, its shape, its ends, whether it is a number, and the same of the two words on each side. The
strengths of both penalties are chosen on the validation data. Scores are those of heedful.evaluation.spans, as our
models'. Needs the extra 'bench'.
"""

import argparse
import itertools
import time
from collections.abc import Sequence

from rich.console import Console

from heedful.data.conll import Tagged
from heedful.data.entities import NAMES, tagged_set
from heedful.evaluation import table
from heedful.evaluation.spans import span_scores, span_value
from heedful.text.word_features import shape

STRENGTHS = (0.01, 0.1, 1.0)


def of_word(word: str) -> dict[str, str | bool]:
    return {
        "lower": word.lower(),
        "shape": shape(word),
        "upper": word.isupper(),
        "title": word.istitle(),
        "number": word.isdigit(),
        "hashtag": word.startswith("#"),
        "user": word.startswith("@"),
        "address": word.startswith(("http", "www")),
    }


def features(tokens: Sequence[str]) -> list[dict[str, str | bool]]:
    alone = [of_word(token) for token in tokens]
    found: list[dict[str, str | bool]] = []
    for place, token in enumerate(tokens):
        lower = token.lower()
        row: dict[str, str | bool] = {
            "bias": True,
            "first": place == 0,
            "last": place == len(tokens) - 1,
            **{f"prefix{size}": lower[:size] for size in (1, 2, 3, 4)},
            **{f"suffix{size}": lower[-size:] for size in (1, 2, 3, 4)},
            **alone[place],
        }
        for away in (-2, -1, 1, 2):
            if 0 <= place + away < len(tokens):
                row |= {f"{away:+d}:{name}": value for name, value in alone[place + away].items()}
        if place:
            row["-1|0"] = f"{tokens[place - 1].lower()}|{lower}"
        if place + 1 < len(tokens):
            row["0|+1"] = f"{lower}|{tokens[place + 1].lower()}"
        found.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", choices=NAMES)
    parser.add_argument("--fold", type=int, default=0, help="of sets without a split")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument(
        "--strengths", type=float, nargs="+", default=STRENGTHS, help="tried for both penalties"
    )
    parser.add_argument("--iterations", type=int, default=200)
    arguments = parser.parse_args()
    import sklearn_crfsuite

    console = Console(highlight=False)
    for name in arguments.names:
        data = tagged_set(name, arguments.fold, arguments.folds)

        def read(sentences: Sequence[Tagged]) -> tuple[list[list[dict[str, str | bool]]], list[list[str]]]:
            return [features(each.tokens) for each in sentences], [list(each.tags) for each in sentences]

        (train, tags), (validation, expected), (test, gold) = map(read, data)
        began, best = time.perf_counter(), (-1.0, None, (0.0, 0.0))
        for c1, c2 in itertools.product(arguments.strengths, arguments.strengths):
            field = sklearn_crfsuite.CRF(
                algorithm="lbfgs",
                c1=c1,
                c2=c2,
                max_iterations=arguments.iterations,
                all_possible_transitions=True,
            )
            field.fit(train, tags)
            value = span_value("f1", expected, field.predict(validation))
            console.print(f"{name}: c1 {c1:g}, c2 {c2:g}: validation F1 {value:.2f}")
            if value > best[0]:
                best = value, field, (c1, c2)
        _, field, strengths = best
        assert field is not None
        shown = table(span_scores(gold, field.predict(test)))
        shown.title = f"{name}, CRF with c1 {strengths[0]:g}, c2 {strengths[1]:g}"
        console.print(shown)
        console.print(f"{time.perf_counter() - began:.0f} s for {len(arguments.strengths) ** 2} trainings")


if __name__ == "__main__":
    main()
