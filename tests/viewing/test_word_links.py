import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from heedful.evaluation.alignment_error import GoldAlignment, alignment_error
from heedful.tasks.alignment import NO_WORD, align_words
from heedful.viewing import server

PAGE = Path(server.__file__).parent / "page"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="needs node")

SCRIPT = """
const { linksOf, wordsOf, errorOf, readGold, agreementOf, betweenWords } = await import(process.argv[1]);
const { cases } = JSON.parse(process.argv[2]);
const told = cases.map(({ weights, source, target, gold, method }) => {
  const shape = [weights.length, weights[0].length];
  const axis = (word) => wordsOf({ text: word.map(String), word });
  const [sources, targets] = [axis(source), axis(target)];
  const links = linksOf(weights.flat(), shape, sources, targets, method);
  const read = readGold(gold);
  return {
    links: [...links],
    error: errorOf(links, read),
    same: agreementOf(links, links),
    sums: [...betweenWords(weights.flat(), shape, sources, targets, method)],
    wrong: read.wrong,
  };
});
console.log(JSON.stringify(told));
"""


def run(cases: list[dict[str, object]]) -> list[dict[str, object]]:
    """Give what the page's word_links.js says."""
    assert NODE is not None
    command = [
        NODE,
        "--input-type=module",
        "-e",
        SCRIPT,
        (PAGE / "word_links.js").as_uri(),
        json.dumps({"cases": cases}),
    ]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_links_and_their_error_are_those_of_the_package():
    generator = random.Random(0)
    torch.manual_seed(0)
    cases, expected = [], []
    for _ in range(20):
        # The last of both is </s>, outside every word.
        columns, rows = generator.randint(2, 8), generator.randint(2, 8)
        source = sorted(generator.randint(0, 4) for _ in range(columns - 1))
        target = sorted(generator.randint(0, 4) for _ in range(rows - 1))
        source, target = ([sorted(set(words)).index(word) for word in words] for words in (source, target))
        weights = torch.rand(rows, columns).softmax(-1)
        method = generator.choice(["plain", "shift"])
        pairs = {(generator.choice(source), generator.choice(target)) for _ in range(4)}
        sure = set(sorted(pairs)[:2])
        gold = " ".join(f"{s}{'-' if (s, t) in sure else 'p'}{t}" for s, t in sorted(pairs))
        mine = weights[:-1] if method == "plain" else weights[1:]
        words = align_words([mine], [*source, NO_WORD], [*target])
        links = {(s, t) for s, t, _ in words}
        error = alignment_error([links], [GoldAlignment(frozenset(sure), frozenset(pairs))])
        # JavaScript has no float32 of its own: what is sent is what it reads.
        cases.append(
            {
                "weights": weights.double().tolist(),
                "source": [*source, None],
                "target": [*target, None],
                "gold": gold,
                "method": method,
            }
        )
        expected.append((links, error))
    for found, (links, error) in zip(run(cases), expected, strict=True):
        assert {tuple(map(int, link.split("-"))) for link in found["links"]} == links  # pyright: ignore
        assert found["error"] == pytest.approx(  # pyright: ignore
            {"rate": error.rate, "precision": error.precision, "recall": error.recall}
        )
        assert found["same"] == 1
        assert found["wrong"] == []


def test_words_have_the_sum_of_their_keys_and_the_mean_of_their_queries():
    weights = [[0.1, 0.2, 0.7], [0.3, 0.5, 0.2], [0.0, 0.0, 1.0]]
    case = {
        "weights": weights,
        "source": [0, 0, None],
        "target": [0, 0, None],
        "gold": "0-0 x 1p",
        "method": "plain",
    }
    (found,) = run([case])
    assert found["sums"] == pytest.approx([(0.3 + 0.8) / 2])
    assert found["wrong"] == ["x", "1p"]
