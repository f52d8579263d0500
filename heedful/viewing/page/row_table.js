// The keys that a fixed query looks at most, as a table: for reading, for screen readers, for copying.

import { button, node } from "./controls.js";
import { css } from "./colors.js";
import { numbered, tokenElement, weightText } from "./tokens.js";

const MOST = 10;

export class RowTable {
  #shown = "";
  #rows = [];

  constructor(container, context) {
    this.context = context;
    this.title = node("h3");
    this.note = node("p", "note");
    this.table = node("table", "row");
    this.table.setAttribute("aria-label", "Keys with the largest weights");
    this.copy = button("Copy", () => this.#copy(), "The table, to paste into a sheet");
    this.lines = button("Lines", () => context.set({ view: "lines" }), "This query in the view of lines");
    this.arithmetic = button("Arithmetic", () => context.set({ view: "arithmetic" }), "How this query’s weights come about");
    this.links = node("div", "saving", this.lines, this.arithmetic, this.copy);
    container.append(node("section", "row-table", this.title, this.note, this.table, this.links));
  }

  async show(number, map, head, { query, key }, without) {
    const { scene, source, fail, state, theme } = this.context;
    const axes = { queries: scene.axes[map.queries], keys: scene.axes[map.keys] };
    const now = JSON.stringify([number, head, query, key, state.without, theme]);
    if (now === this.#shown) return;
    this.#shown = now;
    this.links.hidden = this.table.hidden = query === null;
    this.arithmetic.hidden = !map.arithmetic || head === "mean";
    if (query === null) {
      this.title.textContent = "Weights";
      this.note.textContent = "Choose a cell, and its query is told here. Wheel, pinch or double click go nearer; drag to move.";
      return;
    }
    this.title.replaceChildren(tokenElement(axes.queries.text[query]), node("span", "aside number", `query ${query}`));
    const most = Math.min(map.shape[1], MOST + (without?.out.size ?? 0), 256);
    let found;
    let left = 1;
    try {
      found = await source.top(scene, number, head, [query, query + 1], most);
      if (without) [left] = await without.left([query, query + 1]);
    } catch (error) {
      if (now !== this.#shown) return;
      this.#shown = ""; // asked for again, it is tried again
      // The rows of another query do not stay under this one's name.
      this.note.textContent = "";
      this.links.hidden = this.table.hidden = true;
      fail(error);
      return;
    }
    if (now !== this.#shown) return;
    this.#rows = [];
    found.keys.forEach((one, i) => {
      if (left && one >= 0 && !without?.out.has(one) && this.#rows.length < MOST) this.#rows.push([one, found.weights[i] / left]);
    });
    const sum = this.#rows.reduce((all, [, weight]) => all + weight, 0);
    const all = this.#rows.length === map.shape[1] - (without?.out.size ?? 0);
    const share = `, together ${weightText(Math.min(sum, 1))}${without ? " of what is left" : ""}`;
    if (!this.#rows.length) this.note.textContent = without ? "looks at nothing else." : "looks at nothing.";
    else this.note.textContent = all ? "looks at" : `looks most at these ${this.#rows.length}${share}:`;
    this.#fill(axes, key);
  }

  #fill({ keys }, chosen) {
    const special = new Set(keys.special);
    const largest = Math.max(1e-9, ...this.#rows.map(([, weight]) => weight));
    this.table.replaceChildren(
      node("caption", "unseen", "Keys with the largest weights"),
      ...this.#rows.map(([key, weight]) => {
        const bar = node("span", "share");
        bar.style.width = `${(weight / largest) * 100}%`;
        bar.style.background = css("weights", 0.35 + 0.4 * weight);
        const row = node(
          "tr",
          key === chosen ? "chosen" : "",
          node("td", "number", String(key)),
          node("td", "", tokenElement(keys.text[key], { special: special.has(key), most: 28 })),
          node("td", "number", weightText(weight)),
          node("td", "bars", bar),
        );
        row.addEventListener("click", () => this.context.set({ key }));
        return row;
      }),
    );
  }

  async #copy() {
    const { scene, state, announce } = this.context;
    const map = scene.maps.find((one) => one.name === state.map) ?? scene.maps[JSON.parse(this.#shown)[0]];
    const lines = this.#rows.map(([key, weight]) => `${numbered(scene.axes[map.keys], key)}\t${weight}`);
    try {
      await navigator.clipboard.writeText(lines.join("\n"));
      announce("Copied.");
      this.copy.textContent = "Copied";
      setTimeout(() => (this.copy.textContent = "Copy"), 1200);
    } catch {
      this.context.fail(new Error("The browser does not let the page copy; mark the table and copy it by hand."));
    }
  }
}
