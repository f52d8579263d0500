"""What the map and the overview compute: places on the screen, renormalised weights, heads that stand out."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.viewing.page_files import needs_node, run


@needs_node
@pytest.mark.parametrize(("queries", "keys"), [(7, 9), (1, 1000), (300, 300), (65536, 65536)])
def test_what_is_under_the_pointer_stays_there(queries: int, keys: int):
    found = run(f"""
    import {{ Camera }} from "PAGE/camera.js";
    const camera = new Camera({queries}, {keys});
    camera.room(800, 500);
    const told = [];
    for (const factor of [1.5, 3, 20, 0.5, 400, 0.1]) {{
      const [px, py] = [camera.plotWidth * 0.6, camera.plotHeight * 0.45];
      const [key, query] = [camera.keyAt(px), camera.queryAt(py)];
      camera.zoomAt(factor, px, py);
      told.push([camera.left(key), px, camera.top(query), py, camera.plotWidth, camera.plotHeight, camera.level,
        camera.seenKeys, camera.seenQueries, camera.across, camera.down]);
    }}
    camera.zoomAt(1e-9, 3, 3);
    console.log(JSON.stringify([told, camera.zoom, camera.seenKeys, camera.seenQueries, camera.coarsest]));
    """)
    told, zoom, seen_keys, seen_queries, coarsest = found
    for left, px, top, py, width, height, level, some_keys, some_queries, across, down in told:
        # Where the picture has all of one side, nothing can be moved along it, and its size may change.
        if some_keys != [0, keys] and width == 800:
            assert left == pytest.approx(px, abs=0.02 * width)
        if some_queries != [0, queries] and height == 500:
            assert top == pytest.approx(py, abs=0.02 * height)
        assert 0 <= some_keys[0] < some_keys[1] <= keys
        assert width <= 800
        assert height <= 500
        # A cell is about a pixel: no less, and no coarser than it must be.
        assert level == coarsest or 2**level * min(across, down) >= 1 - 1e-9
        assert level == 0 or 2 ** (level - 1) * min(across, down) < 1
    assert zoom is None
    assert [seen_keys, seen_queries] == [[0, keys], [0, queries]]
    assert coarsest == max(0, (max(queries, keys) - 1).bit_length() - 8)


@needs_node
def test_what_is_left_without_some_columns_adds_up_to_one(tmp_path: Path):
    generator = np.random.default_rng(0)
    weights = generator.dirichlet(np.full(300, 0.1), size=310)
    weights[5] = 0
    weights[5, 0] = 1  # nothing is left of this row
    np.asarray(weights, dtype="<f4").tofile(tmp_path / "weights")
    found = run(f"""
    import fs from "node:fs";
    import {{ Without, runs, takenOut }} from "PAGE/without.js";
    const bytes = fs.readFileSync({json.dumps(str(tmp_path / "weights"))});
    const all = new Float32Array(bytes.buffer, bytes.byteOffset, 310 * 300);
    const source = {{
      async weights(scene, map, head, [a, b], [c, d]) {{
        const weights = new Float32Array((b - a) * (d - c));
        for (let i = a; i < b; i++) weights.set(all.subarray(i * 300 + c, i * 300 + d), (i - a) * (d - c));
        return {{ weights }};
      }},
    }};
    const scene = {{ maps: [{{ shape: [310, 300], keys: "k" }}], axes: {{ k: {{ special: [7, 8, 299] }} }} }};
    const out = takenOut(scene, scene.maps[0], "special,first");
    const without = new Without(source, scene, 0, 0, out);
    const told = [];
    for (const [level, row, column] of [[0, 0, 0], [0, 1, 1], [1, 0, 0]]) {{
      const tile = await without.tile(level, row, column);
      told.push([tile.mean.shape, [...tile.mean], [...tile.maximum]]);
    }}
    console.log(JSON.stringify([[...out], runs(out), told]));
    """)
    out, runs, (first, last, coarse) = found
    assert sorted(out) == [0, 7, 8, 299]
    assert runs == [[0, 1], [7, 9], [299, 300]]
    left = np.asarray(weights, dtype=np.float32).astype(np.float64)
    left[:, out] = np.nan
    left[5] = np.nan
    left /= np.nansum(left, axis=1, keepdims=True)

    def same(told: Any, wanted: np.ndarray) -> None:
        (rows, columns), values = told
        got = np.array([np.nan if value is None else value for value in values]).reshape(rows, columns)
        np.testing.assert_allclose(got, wanted, rtol=2e-5, atol=1e-7)

    same(first[:2], left[:256, :256])
    same(last[:2], left[256:, 256:])
    cells = left.reshape(155, 2, 150, 2).transpose(0, 2, 1, 3).reshape(155, 150, 4)
    with warnings.catch_warnings(
        category=RuntimeWarning, action="ignore"
    ):  # of cells of which nothing is left
        same(coarse[:2], np.nanmean(cells, axis=2))
        same(coarse[::2], np.nanmax(cells, axis=2))


@needs_node
@pytest.mark.parametrize("server", ["true", "false"])
@pytest.mark.parametrize("queries", [3, 4096])
def test_rows_that_do_not_sum_to_one_add_up_to_one_without_some_columns(queries: int, server: str):
    """As those with a sink, or of a part of a model's keys; small ones whole, large ones by tiles."""
    found = run(f"""
    import {{ Without }} from "PAGE/without.js";
    const [queries, keys] = [{queries}, 300];
    const weight = (i, j) => (i === 1 ? (j === 0 ? 0.5 : 0) : (j === 0 ? 0.2 : 0.3 / 299) / (1 + i % 3));
    const row = (i) => Array.from({{ length: keys }}, (_, j) => weight(i, j));
    const rowsOf = (a, b) => Array.from({{ length: b - a }}, (_, i) => row(a + i));
    const asked = [];
    const source = {{
      can: {{ open: {server} }},
      async weights(scene, map, head, [a, b], [c, d]) {{
        return {{ weights: Float32Array.from(rowsOf(a, b).flatMap((row) => row.slice(c, d))) }};
      }},
      async top(scene, map, head, [a, b]) {{
        asked.push([a, b]);
        return {{ sums: Float32Array.from(rowsOf(a, b), (row) => row.reduce((sum, one) => sum + one, 0)) }};
      }},
      async tile(scene, map, head, level, row, column) {{
        const [b, d] = [Math.min(queries, row * 256 + 256), Math.min(keys, column * 256 + 256)];
        const {{ weights: mean }} = await this.weights(scene, map, head, [row * 256, b], [column * 256, d]);
        mean.shape = [b - row * 256, d - column * 256];
        return {{ mean }};
      }},
    }};
    const scene = {{ maps: [{{ shape: [queries, keys], keys: "k" }}], axes: {{ k: {{ special: [] }} }} }};
    const without = new Without(source, scene, 0, 0, new Set([0]));
    const last = Math.ceil(queries / 256) - 1;
    const tiles = [await without.tile(0, last, 0), await without.tile(0, last, 1)];
    const sums = tiles.map(({{ mean }}) => {{
      const wide = mean.shape[1];
      const part = Array.from(mean.subarray(0, wide));
      return part.reduce((sum, one) => sum + (Number.isNaN(one) ? 0 : one), 0);
    }});
    const first = await without.tile(0, 0, 0);
    console.log(JSON.stringify([without.whole, sums, [...await without.left([0, 2])], first.mean[257], asked.length]));
    """)
    whole, sums, left, gone, asked = found
    assert whole == (queries == 3)
    assert sum(sums) == pytest.approx(1, abs=1e-5)
    assert left == pytest.approx([0.3, 0], abs=1e-6)
    assert gone is None
    assert (asked > 0) == (server == "true" and not whole)


@needs_node
def test_numbers_along_an_axis_are_round():
    found = run("""
    import { round } from "PAGE/labels.js";
    console.log(JSON.stringify([0.3, 1, 1.2, 3, 7, 11, 26, 4999].map(round)));
    """)
    assert found == [0.5, 1, 2, 5, 10, 20, 50, 5000]


@needs_node
def test_heads_stand_out_once_each():
    found = run("""
    import { standOuts, told } from "PAGE/statistics.js";
    const map = { queries: "t", keys: "t", shape: [9, 9], causal: false, heads: 2 };
    const head = (number, head, values) => ({ number, map, head, values });
    const list = [
      head(0, 0, { previous: 0.9, maximum: 0.95, entropy: 0.2, first: 0.1 }),
      head(0, 1, { previous: 0.1, maximum: 0.9, entropy: 0.4, first: 0.2 }),
      head(1, 0, { previous: 0.0, maximum: 0.2, entropy: 2.1, first: 0.1 }),
    ];
    const found = standOuts(list).map((one) => [one.by, one.number, one.head]);
    console.log(JSON.stringify([found, told("first", 0.123), told("first", 0.03), told("entropy", NaN)]));
    """)
    # The sharpest of all is named already; the next is nearly as sharp. Nobody rests on the first token.
    assert found[0] == [["previous", 0, 0], ["maximum", 0, 1], ["entropy", 1, 0]]
    assert found[1:] == ["12 %", "3.0 %", "–"]
