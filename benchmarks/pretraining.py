"""Does reading plain text first help? Seven tasks, each from scratch and begun with a masked language model.

    python benchmarks/pretraining.py corpus /path/to/corpus [--more TEXT ...]   # the text at hand, a file a source
    python benchmarks/pretraining.py pretrain /path/to/corpus runs              # an hour on one core
    python benchmarks/pretraining.py compare runs [trec sst2 ...] [--ways scratch begun] [--seeds 3]

The text is the English of the named sets whose licences allow it or whose task it is: reviews of films, everyday
sentences, stories, posts, articles, Shakespeare, and the tasks' own training texts without their labels. No text of a
test set is in it, but the films' reviews, of which all are, without labels. --more takes other files, a document each.

Each task is trained three ways: by its recipe; from scratch with the pre-trained model's sizes; and begun with the
pre-trained model. The last two try several rates with one seed, and keep the one that is best in validation.
"""

import argparse
import gzip
import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from heedful.data.corpus import read_pairs
from heedful.data.documents import TextSettings, read_documents
from heedful.data.entities import tagged_set
from heedful.data.labelled_named import labelled_named
from heedful.data.named import resolve
from heedful.data.named_texts import named_text
from heedful.data.reading import reading_set
from heedful.evaluation.spread import spread

MODEL = {"d_model": 192, "d_ff": 512, "heads": 4, "layers": 3, "positions": "rotary", "norm": "pre"}
STEPS = 8000
LONG = (  # 1,600 texts of some 1,000 tokens: an epoch is 100 steps, and half of a text is read in each
    *("--data.window", "256", "--data.training_windows", "2", "--data.batch", "16"),
    *("--training.steps", "800"),
)
FOLD = ("--data.fold", "0", "--head.word_features", "true")
TASKS = {  # the recipe and what is told; what is not in the recipe
    "trec": ("trec", "accuracy"),
    "sst2": ("sst2", "accuracy"),
    "wnut17": ("wnut17", "f1"),
    "wikigold": ("wnut17", "f1", "--data.name", "wikigold", *FOLD),
    "broad_twitter": ("wnut17", "f1", "--data.name", "broad_twitter", *FOLD),
    # Half of the recipe's steps.
    "subjqa": ("subjqa", "f1", "--training.steps", "1500"),
    "movie_reviews": ("classify", "accuracy", "--data.name", "movie_reviews", *LONG),
}
WAYS = ("recipe", "scratch", "begun")
SCRATCH = (5e-4, 1e-3)
BEGUN = (2e-4, 5e-4)


def texts(more: Iterable[Path]) -> Iterator[tuple[str, Iterable[str]]]:
    """The sources: a name, and the documents."""
    reviews = labelled_named("movie_reviews")
    yield "movie_reviews", (one.text for part in (reviews.train, *reviews.tests.values()) for one in part)
    yield "tatoeba", (source for corpus in resolve("tatoeba-en-de").train for source, _ in read_pairs(corpus))
    for name in ("subjqa", "fairytale_qa"):
        yield name, (question.context for question in reading_set(name).train)
    for name in ("wnut17", "wikigold", "broad_twitter"):
        yield name, (" ".join(one.tokens) for one in tagged_set(name).train)
    for name in ("trec", "sst2"):
        yield name, (one.text for one in labelled_named(name).train)
    yield (
        "tinyshakespeare",
        (document.text for document in read_documents(named_text("tinyshakespeare")["train"])),
    )
    for path in more:
        yield path.name, (document.text for document in read_documents(TextSettings(text=(path,))))


def write_corpus(folder: Path, more: Iterable[Path]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, documents in texts(more):
        unique = list(dict.fromkeys(documents))
        lines = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in unique)
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))
        words = sum(len(text.split()) for text in unique)
        print(f"{name:16} {len(unique):9,} texts {words:11,} words")


def train(*arguments: object) -> None:
    subprocess.run(
        [sys.executable, "-m", "heedful", "train", *map(str, arguments)], check=True, stdout=sys.stderr
    )


def pretrain(corpus: Path, runs: Path) -> None:
    files = [str(path) for path in sorted(corpus.glob("*.jsonl.gz"))]
    shape = [word for key, value in MODEL.items() for word in (f"--model.{key}", value)]
    train(
        *("bert-mlm", "--run", runs / "pretrained", "--data.train.text", json.dumps(files), *shape),
        *(
            "--tokenizer.normalization",
            '["nfkc"]',
            "--training.steps",
            STEPS,
            "--training.validate_every",
            500,
        ),
    )


def validated(run: Path, metric: str) -> float:
    events = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    return max(one[metric] for one in events if one["event"] == "validation")


def best(
    name: str, folder: Path, seeds: int, rates: tuple[float, ...], given: list[object]
) -> tuple[str, str, str, str]:
    """Try each rate with the first seed; give the test score of all seeds with that which is best in validation."""
    recipe, metric, *more = TASKS[name]
    tried = {}
    for rate in rates or (None,):
        run = folder / ("recipe" if rate is None else f"rate-{rate:g}")
        chosen = [] if rate is None else ["--training.schedule.rate", rate]
        command = [recipe, *more, *given, *chosen, "--quiet"]
        train(*command, "--training.seed", 1, "--run", run / "seed-1")
        tried[validated(run / "seed-1", metric)] = (run, rate, command)
    run, rate, command = tried[max(tried)]
    trained = [run / f"seed-{seed}" for seed in range(1, seeds + 1)]
    for seed, one in enumerate(trained[1:], start=2):
        train(*command, "--training.seed", seed, "--run", one)
    validation = statistics.mean(validated(one, metric) for one in trained)
    found = spread([json.loads((one / "evaluation.json").read_text("utf-8")) for one in trained])
    tested = next(one for one in found if one.name == metric)
    told = "its own" if rate is None else f"{rate:g}"
    deviation = "" if tested.deviation is None else f" ± {tested.deviation:.2f}"
    return metric, told, f"{validation:.2f}", f"{tested.mean:.2f}{deviation}"


def compare(
    runs: Path,
    names: list[str],
    chosen: list[str],
    seeds: int,
    scratch: tuple[float, ...],
    begun: tuple[float, ...],
) -> None:
    ways: dict[str, tuple[tuple[float, ...], list[object]]] = {
        "recipe": ((), []),
        "scratch": (
            scratch,
            [
                "--look_beside",
                0,
                *(word for key, value in MODEL.items() for word in (f"--model.{key}", value)),
            ],
        ),
        "begun": (begun, ["--init", runs / "pretrained"]),
    }
    print("| task | trained | metric | rate | validation | test |\n|---|---|---|---|---|---|")
    for name in names:
        for way in chosen:
            rates, given = ways[way]
            told = best(name, runs / name / way, seeds, rates, given)
            print("|", " | ".join([name, way, *told]), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    gathering = parts.add_parser("corpus")
    gathering.add_argument("corpus", type=Path)
    gathering.add_argument("--more", type=Path, nargs="+", default=[], help="files of other plain text")
    first = parts.add_parser("pretrain")
    first.add_argument("corpus", type=Path)
    first.add_argument("runs", type=Path)
    second = parts.add_parser("compare")
    second.add_argument("runs", type=Path)
    second.add_argument("tasks", nargs="*", choices=[[], *TASKS], default=[])
    second.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    second.add_argument("--seeds", type=int, default=3)
    second.add_argument("--scratch", type=float, nargs="+", default=SCRATCH, help="rates to try from scratch")
    second.add_argument("--begun", type=float, nargs="+", default=BEGUN, help="rates to try begun")
    asked = parser.parse_args()
    if asked.part == "corpus":
        write_corpus(asked.corpus, asked.more)
    elif asked.part == "pretrain":
        pretrain(asked.corpus, asked.runs)
    else:
        compare(
            asked.runs,
            asked.tasks or list(TASKS),
            asked.ways,
            asked.seeds,
            tuple(asked.scratch),
            tuple(asked.begun),
        )


if __name__ == "__main__":
    main()
