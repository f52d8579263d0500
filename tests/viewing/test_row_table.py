"""The table beside a map: the keys that a query looks at most, also without some, as they are read and copied."""

import json
from typing import Any

import pytest

from tests.viewing.page_files import needs_node, run

pytestmark = needs_node

# As much of a document as the table needs.
DOCUMENT = """
import { setTheme } from "PAGE/colors.js";
import { RowTable } from "PAGE/row_table.js";
class Element {
  children = []; style = {}; events = {};
  append(...given) { this.children.push(...given); }
  replaceChildren(...given) { this.children = given; }
  setAttribute() {}
  addEventListener(name, act) { this.events[name] = act; }
  set textContent(text) { this.children = [text]; }
  get textContent() { return this.children.map((each) => each.textContent ?? String(each)).join(""); }
}
globalThis.document = { createElement: () => new Element() };
const copied = [];
const clipboard = { writeText: async (text) => copied.push(text) };
Object.defineProperty(globalThis, "navigator", { value: { clipboard } });

const ROWS = GIVEN;
const keys = ROWS[0].length;
const text = Array.from({ length: keys }, (_, key) => `k${key}`);
const map = { name: "m", queries: "q", keys: "k", shape: [ROWS.length, keys], heads: 2, arithmetic: true };
const asked = [];
const answers = []; // calls that answer when they are told to
const top = (query, most) => {
  const row = ROWS[query];
  const order = [...row.keys()].filter((key) => row[key] > 0).sort((a, b) => row[b] - row[a]);
  // Fewer than were asked for are filled up, as the server does.
  const found = [...order, ...Array(most).fill(-1)].slice(0, most);
  return { keys: found, weights: found.map((key) => row[key] ?? 0) };
};
const failures = [];
const context = {
  scene: { maps: [map], axes: { q: { text: ["q0", "q1", "q2"], special: [] }, k: { text, special: [0] } } },
  source: {
    top: (scene, number, head, [query], most) => {
      asked.push(query);
      return new Promise((resolve, reject) =>
        answers.push({ give: () => resolve(top(query, most)), fail: () => reject(new Error("gone")) }));
    },
  },
  state: { map: "m", without: "" }, theme: "light",
  set() {}, announce() {}, fail: (error) => failures.push(error.message),
};
const table = new RowTable(new Element(), context);
const seen = () => ({
  title: table.title.textContent,
  note: table.note.textContent,
  hidden: table.table.hidden,
  rows: table.table.children.slice(1).map((row) => row.children.slice(0, 3).map((cell) => cell.textContent)),
  colours: table.table.children.slice(1).map((row) => row.children[3].children[0].style.background),
});
const show = (query, without) => table.show(0, map, 1, { query, key: null }, without);
const shown = async (query, without) => {
  const done = show(query, without);
  answers.at(-1).give();
  await done;
  return seen();
};
"""
# Every key; half of them; none.
FEW = [[0.5, 0.3, 0.2], [0.7, 0.0, 0.3], [0.0, 0.0, 0.0]]


def told(rows: list[list[float]], script: str) -> Any:
    return run(
        DOCUMENT.replace("GIVEN", json.dumps(rows)) + script + "console.log(JSON.stringify(await found()));"
    )


def test_what_a_query_looks_at_is_said_with_its_share():
    many = [[(12 - key) / 78 for key in range(12)]]
    (most,) = told(many, "const found = async () => [await shown(0)];")
    assert most["title"] == "q0query 0"
    assert most["note"] == "looks most at these 10, together 0.962:"
    assert [row[:2] for row in most["rows"]] == [[str(key), f"k{key}"] for key in range(10)]
    assert [float(row[2]) for row in most["rows"]] == pytest.approx(many[0][:10], abs=5e-4)
    every, some, none = told(
        FEW, "const found = async () => [await shown(0), await shown(1), await shown(2)];"
    )
    assert every["note"] == "looks at"
    assert [row[0] for row in every["rows"]] == ["0", "1", "2"]
    assert some["note"] == "looks most at these 2, together 1.000:"
    assert some["rows"] == [["0", "k0", "0.700"], ["2", "k2", "0.300"]]
    assert (none["note"], none["rows"]) == ("looks at nothing.", [])


def test_without_some_keys_the_others_add_up_to_one():
    script = """
    const left = (query, keys) => ROWS[query].reduce((all, weight, key) => all + (keys.includes(key) ? 0 : weight), 0);
    const out = (...keys) => ({ out: new Set(keys), left: async ([query]) => [left(query, keys)] });
    const found = async () => [await shown(0, out(0)), await shown(1, out(0, 2))];
    """
    some, none = told(FEW, script)
    assert some["rows"] == [["1", "k1", "0.600"], ["2", "k2", "0.400"]]
    assert some["note"] == "looks at"
    assert (none["note"], none["rows"]) == ("looks at nothing else.", [])


def test_a_late_answer_does_not_stand_under_another_query():
    script = """
    const found = async () => {
      const both = [show(0), show(1)];
      answers[1].give();
      answers[0].give();
      await Promise.all(both);
      return seen();
    };
    """
    last = told(FEW, script)
    assert last["title"] == "q1query 1"
    assert [row[2] for row in last["rows"]] == ["0.700", "0.300"]


def test_after_a_failure_nothing_is_shown_and_the_same_is_asked_for_again():
    script = """
    const found = async () => {
      await shown(0);
      const failing = show(1);
      answers.at(-1).fail();
      await failing;
      const hidden = seen();
      return [hidden, await shown(1), asked, failures];
    };
    """
    hidden, again, asked, failures = told(FEW, script)
    assert (hidden["hidden"], hidden["note"]) == (True, "")
    assert (again["hidden"], len(again["rows"])) == (False, 2)
    assert asked == [0, 1, 1]
    assert failures == ["gone"]


def test_what_is_copied_are_lines_with_the_exact_weights():
    copied = told(
        FEW, "const found = async () => { await shown(1); await table.copy.events.click(); return copied; };"
    )
    assert copied == ["0 k0\t0.7\n2 k2\t0.3"]


def test_bars_follow_the_theme():
    script = """
    const found = async () => {
      const light = await shown(0);
      setTheme(context.theme = "dark");
      return [light.colours, (await shown(0)).colours];
    };
    """
    light, dark = told(FEW, script)
    assert len(light) == len(dark) > 0
    assert not set(light) & set(dark)
