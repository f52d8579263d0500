"""Which links the page draws: of each query the fewest keys that have so much of its attention."""

import json
import math
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from heedful.viewing import server

PAGE = Path(server.__file__).parent / "page"
NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="needs node")

SCRIPT = """
const { strongest, rowsOfUnits, units, rowsOf } = await import(process.argv[1]);
const { rows, p, words } = JSON.parse(process.argv[2]);
const axis = { text: words.map(String), word: words, special: [words.length - 1] };
const maps = rows.map((row) => new Map(row.map((weight, key) => [key, weight])));
const scene = { maps: [{ shape: [rows.length, rows[0].length], keys: "a" }], axes: { a: axis } };
const part = (rows, [c, d]) => Float32Array.from(rows.flatMap((row) => row.slice(c, d)));
const source = { weights: async (scene, map, head, [a, b], keys) => ({ weights: part(rows.slice(a, b), keys) }) };
const found = {
  strongest: maps.map((row) => strongest(row, p)),
  words: rowsOfUnits(maps, 0, units(axis, 1), units(axis, 1)).map((row) => [...row]),
  plain: (await rowsOf(source, scene, 0, 0, [0, rows.length], "")).map((row) => [...row]),
  without: (await rowsOf(source, scene, 0, 0, [0, rows.length], "special,first")).map((row) => [...row]),
};
console.log(JSON.stringify(found));
"""

WORDS = [0, 0, 1, 2, 2, 2, None]


@pytest.fixture(scope="module")
def rows() -> list[list[float]]:
    generator = random.Random(0)
    rows = [[generator.random() ** 4 for _ in WORDS] for _ in WORDS]
    return [[weight / sum(row) for weight in row] for row in rows]


@pytest.fixture(scope="module")
def told(rows) -> dict[str, Any]:
    assert NODE is not None
    given = json.dumps({"rows": rows, "p": 0.9, "words": WORDS})
    script = [NODE, "--input-type=module", "-e", SCRIPT, (PAGE / "top_links.js").as_uri(), given]
    return json.loads(subprocess.run(script, check=True, capture_output=True, text=True).stdout)


def test_the_fewest_links_that_have_the_mass_are_drawn(rows, told):
    for row, links in zip(rows, told["strongest"], strict=True):
        weights = [weight for _, weight in links]
        assert weights == sorted(row, reverse=True)[: len(weights)]
        assert sum(weights) >= 0.9 - 1e-9
        assert sum(weights[:-1]) < 0.9


def test_a_word_pays_the_mean_of_what_its_tokens_pay_and_gets_the_sum(rows, told):
    words = [[0, 1], [2], [3, 4, 5], [6]]
    for query, row in zip(words, told["words"], strict=True):
        for key, weight in row:
            expected = sum(rows[i][j] for i in query for j in words[key]) / len(query)
            assert weight == pytest.approx(expected)
        assert sum(weight for _, weight in row) == pytest.approx(1)


def test_rows_without_some_keys_add_up_to_one_again(rows, told):
    for row, kept, left in zip(rows, told["plain"], told["without"], strict=True):
        assert [weight for _, weight in kept] == pytest.approx(row, abs=1e-6)
        assert [key for key, _ in left] == [1, 2, 3, 4, 5]
        rest = 1 - row[0] - row[6]
        assert [weight for _, weight in left] == pytest.approx(
            [row[key] / rest for key in range(1, 6)], abs=1e-5
        )


LONG = """
const { rowsOf, rowsOfUnits, strongest, units } = await import(process.argv[1]);
const { keys, sums, without } = JSON.parse(process.argv[2]);
// All weights are alike; rows sum to a half.
const all = (count) => new Float32Array(count).fill(0.5 / keys);
const source = {
  can: { open: true },
  async weights(scene, map, head, [a, b], [c, d]) {
    return { weights: all((b - a) * (d - c)) };
  },
  async top(scene, map, head, [a, b], k) {
    const found = { keys: new Int32Array((b - a) * k).map((_, i) => i % k), weights: all((b - a) * k) };
    found.keys.shape = found.weights.shape = [b - a, k];
    return sums ? { ...found, sums: new Float32Array(b - a).fill(0.5) } : found;
  },
};
const axis = { text: Array(keys).fill("a"), special: [] };
const scene = { maps: [{ shape: [keys, keys], keys: "t" }], axes: { t: axis } };
const rows = await rowsOf(source, scene, 0, 0, [0, 48], without);
const some = units(axis, false);
const told = rowsOfUnits(rows, 0, some.slice(0, 1), some);
const links = strongest(told[0], 0.9);
console.log(JSON.stringify({ sum: told[0].sum, links: links.length, weight: links[0][1], short: links.short }));
"""


@pytest.mark.parametrize("sums", [True, False])
@pytest.mark.parametrize("without", ["", "first"])
@pytest.mark.parametrize("keys", [40, 10_000])
def test_the_share_is_that_of_the_whole_row_and_too_few_links_say_so(keys: int, without: str, sums: bool):
    assert NODE is not None
    given = json.dumps({"keys": keys, "sums": sums, "without": without})
    script = [NODE, "--input-type=module", "-e", LONG, (PAGE / "top_links.js").as_uri(), given]
    found = json.loads(subprocess.run(script, check=True, capture_output=True, text=True).stdout)
    left = keys - bool(without)
    assert found["sum"] == pytest.approx(1 if without else 0.5, rel=1e-5)
    assert found["weight"] == pytest.approx(found["sum"] / left, rel=1e-4)
    # Of long rows the 64 largest weights are known; of these the first may be taken out.
    assert found["short"] == (keys == 10_000)
    assert found["links"] == (math.ceil(0.9 * left) if keys == 40 else 64 - bool(without))
