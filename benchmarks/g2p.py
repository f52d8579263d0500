"""Claim: one recipe reads words aloud in every language of SIGMORPHON 2021, at or below the official baselines.

    python benchmarks/g2p.py --runs FOLDER [--recipe g2p-transformer] [--languages ady ...] [--seeds 1 2 3] [options]
    python benchmarks/g2p.py --runs FOLDER --only-table

Calls `heedful train` for one language after the other, and one seed after the other, each in its own run,
FOLDER/LANGUAGE.SEED; a finished run is not done again, and an interrupted one goes on. Small languages are trained on
recombined words too (`--plain`: without). The table has the word error rate of the first seed on the test set with its
95% interval, the mean over the seeds, and, with more than one seed, that of all together: the n best of each are put
together, and the one is taken that is most probable under all models (the product of their probabilities). Beside it
stands the official baseline, itself an ensemble (Ashby et al. 2021; README of sigmorphon/2021-task1).

Nothing is chosen by the test set: the best step of a run is that of the lowest word error rate in validation.
"""

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from trainings import evaluation, line, seconds, train

BASELINES = {  # word error rate in percent: dev, test
    "eng_us": (45.13, 41.94), "arm_e": (4.5, 7.0), "bul": (8.3, 18.3), "dut": (10.8, 14.7), "geo": (0.0, 0.0),
    "hbs_latn": (34.7, 32.1), "hun": (1.5, 1.8), "kor": (18.4, 16.3), "ady": (22.0, 22.0), "gre": (5.0, 21.0),
    "ita": (22.0, 19.0), "khm": (34.0, 34.0), "lav": (41.0, 55.0), "rum": (10.0, 10.0), "slv": (43.0, 49.0),
}  # fmt: skip
# Over all ten languages of the size, six of which are not fetched here.
PUBLISHED_MEANS = {"medium": 10.64, "low": 25.10}
_BEST = 5


def data_set(code: str, plain: bool) -> str:
    from heedful.data.sigmorphon import LANGUAGES

    (language,) = (language for language in LANGUAGES if language.code == code)
    return f"sigmorphon2021-g2p-{code}" + ("-recombined" if language.size == "low" and not plain else "")


def together(runs: Sequence[Path], sources: list[str]) -> list[str]:
    """For each source the answer that is most probable under the models of all runs."""
    from heedful.tasks.translator import load

    models = [load(run) for run in runs]
    candidates: list[dict[str, float]] = [{} for _ in sources]
    for model in models:
        search = model.search.model_copy(update={"n_best": min(_BEST, model.search.beam)})
        for found, answer in zip(candidates, model.answers(sources, search=search), strict=True):
            found.update({candidate.text: 0.0 for candidate in answer.candidates})
    asked = [(source, text) for source, found in zip(sources, candidates, strict=True) for text in found]
    of = [found for found in candidates for _ in found]
    for model in models:
        scores = model.score([source for source, _ in asked], [text for _, text in asked])
        for found, (_, text), score in zip(of, asked, scores, strict=True):
            found[text] += score
    return [max(found, key=lambda text: found[text]) if found else "" for found in candidates]


def row(code: str, runs: Sequence[Path]) -> dict[str, float | str]:
    """What is known of a language: scores of its finished runs."""
    from heedful.data.corpus import read_pairs
    from heedful.data.named import resolve
    from heedful.evaluation import corpus_score

    scores = [evaluation(run)["test"] for run in runs]
    found: dict[str, float | str] = {
        "wer": scores[0]["wer"]["value"],
        "interval": f"{scores[0]['wer']['low']:.1f} to {scores[0]['wer']['high']:.1f}",
        "per": scores[0]["per"]["value"],
        "mean": fmean(score["wer"]["value"] for score in scores),
        "minutes": fmean(seconds(run) / 60 for run in runs),
    }
    if len(runs) > 1:
        kept = runs[0].with_name(f"{code}.together-{len(runs)}.json")
        if not kept.exists():
            pairs = list(read_pairs(resolve(f"sigmorphon2021-g2p-{code}").tests["test"]))
            answers = together(runs, [source for source, _ in pairs])
            kept.write_text(json.dumps(corpus_score("wer", answers, [target for _, target in pairs])))
        found["together"] = json.loads(kept.read_text())
    return found


def table(found: dict[str, dict[str, float | str]]) -> None:
    from heedful.data.sigmorphon import LANGUAGES

    columns = ["wer", "interval", "per", "mean", "together", "minutes"]
    print("\n| language | " + " | ".join(columns) + " | baseline |\n" + "|---" * (len(columns) + 2) + "|")
    for size in ("high", "medium", "low"):
        here = [language.code for language in LANGUAGES if language.size == size and language.code in found]
        for code in here:
            print(_line(code, [found[code].get(column, "") for column in columns], BASELINES[code][1]))
        if len(here) > 1:
            means: list[float | str] = []
            for column in columns:
                values = [found[code].get(column, "") for code in here]
                means.append("" if "" in values or column == "interval" else fmean(map(float, values)))
            print(
                _line(f"**{size}, mean of {len(here)}**", means, fmean(BASELINES[code][1] for code in here))
            )
            print(_line(f"{size}, mean of all ten", [""] * len(columns), PUBLISHED_MEANS[size]))


def _line(name: str, values: Sequence[float | str], baseline: float) -> str:
    return line([name, *(v if isinstance(v, str) else f"{v:.2f}" for v in values), f"{baseline:.2f}"])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--languages", nargs="+", choices=BASELINES, default=list(BASELINES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--recipe", default="g2p", help="g2p, g2p-transformer, or a file")
    parser.add_argument("--plain", action="store_true", help="no recombined words")
    parser.add_argument("--only-table", action="store_true", help="train nothing, show what is finished")
    options, rest = parser.parse_known_args()
    found: dict[str, dict[str, float | str]] = {}
    for code in options.languages:
        runs = [options.runs / f"{code}.{seed}" for seed in options.seeds]
        for run, seed in zip(runs, options.seeds, strict=True):
            if not options.only_table:
                name = data_set(code, options.plain)
                train(options.recipe, run, "--data.name", name, "--training.seed", str(seed), *rest)
        if finished := [run for run in runs if evaluation(run)]:
            found[code] = row(code, finished)
    print(f"\n{platform.platform()}, {os.cpu_count()} cores; heedful train {options.recipe} {' '.join(rest)}")
    table(found)


if __name__ == "__main__":
    main()
