"""Claim: where and how Luong's model attends matters, on a task that needs order and on captions (their table 4).

    python benchmarks/luong.py reverse-luong --runs FOLDER [--attentions global local-m ...] [--scores dot general ...]
    python benchmarks/luong.py multi30k-en-de-luong --runs FOLDER --training.steps 2000
    python benchmarks/luong.py RECIPE --runs FOLDER --only-table [--metric exact-match]

Calls `heedful train` for each combination, in the run FOLDER/ATTENTION-SCORE; other options go to it. Location is
trained with global attention only, as by Luong et al. 2015. The table has the score of each test set, BLEU or --metric,
with its 95% interval (bootstrap over sentences: it does not have the chance of the training's seed in it), and the
minutes that the training took on the clock.
"""

import argparse
import os
import platform
from pathlib import Path

from trainings import evaluation, line, seconds, train

ATTENTIONS = ("global", "local-m", "local-p", "none")
SCORES = ("dot", "general", "concat", "location")


def combinations(attentions: list[str], scores: list[str]) -> list[tuple[str, str]]:
    """Attention and score; a model without attention has no score."""
    return [
        (attention, score)
        for attention in attentions
        for score in (("",) if attention == "none" else scores)
        if score != "location" or attention == "global"
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("recipe", help="reverse-luong, multi30k-en-de-luong, or a file")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--attentions", nargs="+", choices=ATTENTIONS, default=list(ATTENTIONS))
    parser.add_argument("--scores", nargs="+", choices=SCORES, default=list(SCORES))
    parser.add_argument("--metric", default="bleu", help="what is shown")
    parser.add_argument("--only-table", action="store_true", help="train nothing, show what is finished")
    choices, rest = parser.parse_known_args()
    chosen = {
        (attention, score): choices.runs / f"{attention}-{score}".rstrip("-")
        for attention, score in combinations(choices.attentions, choices.scores)
    }
    for (attention, score), run in chosen.items():
        if not choices.only_table:
            asked = ("--model.score", score) if score else ()
            train(choices.recipe, run, "--model.attention", attention, *asked, *rest)
    print(
        f"\n{platform.platform()}, {os.cpu_count()} cores; heedful train {choices.recipe} {' '.join(rest)}\n"
    )
    headed = False
    for (attention, score), run in chosen.items():
        if tests := evaluation(run):
            if not headed:
                print(
                    line(["attention", "score", *(f"{test}: {choices.metric}" for test in tests), "minutes"])
                )
                print(line(["---"] * (len(tests) + 3)))
                headed = True
            found = [scores[choices.metric] for scores in tests.values()]
            told = [f"{one['value']:.2f} ({one['low']:.2f} to {one['high']:.2f})" for one in found]
            print(line([attention, score, *told, f"{seconds(run) / 60:.1f}"]))


if __name__ == "__main__":
    main()
