// Models with a handful of small heads, as recurrent ones and memory networks have: each is shown whole, with its words.
//
// Hops over a memory that are all asked by one question make one picture: facts below each other, hops beside each other.

import { decades, largest, shading } from "./canvas.js";
import { node } from "./controls.js";
import { drawMatrix } from "./matrix.js";
import { mapTitle, numbered, shown, weightText } from "./tokens.js";

const HEADS = 4;
const SIDE = 64;

export function isSmall(scene) {
  const heads = scene.maps.reduce((sum, map) => sum + map.heads, 0);
  const asked = scene.maps.every((map) => map.heads === 1 && map.shape[0] === 1);
  return (heads <= HEADS || asked) && heads <= 12 && scene.maps.every(({ shape }) => shape[0] <= SIDE && shape[1] <= SIDE);
}

export async function smallMatrices(source, scene) {
  const weights = await Promise.all(
    scene.maps.map((map, number) =>
      Promise.all(
        Array.from({ length: map.heads }, async (_, head) => ({
          number,
          map,
          head,
          weights: (await source.weights(scene, number, head, [0, map.shape[0]], [0, map.shape[1]])).weights,
        })),
      ),
    ),
  );
  return new Few(scene, weights.flat());
}

class Few {
  #figures = null;

  constructor(scene, list) {
    this.scene = scene;
    this.list = list;
    const [first] = scene.maps;
    this.hops = scene.maps.every((map) => map.heads === 1 && map.shape[0] === 1 && map.keys === first.keys);
  }

  destroy() {
    this.#figures = null;
  }

  draw(container, context) {
    this.#figures ??= this.hops ? [this.#allHops(context)] : this.list.map((one) => this.#one(one, context));
    if (this.#figures[0].element.parentElement !== container) {
      container.classList.add("few");
      container.replaceChildren(...this.#figures.map(({ element }) => element));
    }
    // Two beside each other where there is room for both.
    const width = container.clientWidth;
    for (const figure of this.#figures) figure.draw(width);
  }

  #allHops(context) {
    const keys = this.scene.axes[this.scene.maps[0].keys];
    const asked = this.scene.axes[this.scene.maps[0].queries];
    return this.#figure(
      context,
      this.list.length > 1 ? `Where each hop looks, asked “${shown(asked.text[0])}”` : "Where the model looks",
      {
        rows: keys.text,
        columns: this.list.map(({ map }) => (map.group === "memory" ? `hop ${map.layer + 1}` : mapTitle(map))),
        value: (row, column) => this.list[column].weights[row],
        top: 1,
        cell: 64,
      },
      (row, column) => ({ one: this.list[column], query: 0, key: row }),
      this.list[0],
    );
  }

  #one(one, context) {
    const queries = this.scene.axes[one.map.queries];
    const keys = this.scene.axes[one.map.keys];
    const across = one.map.shape[1];
    return this.#figure(
      context,
      mapTitle(one.map, one.head),
      {
        rows: queries.text,
        columns: keys.text,
        value: (row, column) => one.weights[row * across + column],
        top: largest(one.weights),
      },
      (query, key) => ({ one, query, key }),
      one,
    );
  }

  #figure(context, title, drawn, locate, opened) {
    const canvas = document.createElement("canvas");
    const button = node("button", "whole", canvas);
    button.type = "button";
    button.setAttribute("aria-label", `${title}: ${drawn.rows.length} by ${drawn.columns.length} weights. Opens the map.`);
    const element = node("figure", "matrix", node("h3", "", title), node("div", "scroller", button));
    let at = () => null;
    const under = (event) => {
      const box = canvas.getBoundingClientRect();
      const cell = at(event.clientX - box.left, event.clientY - box.top);
      return cell && locate(cell.row, cell.column);
    };
    button.addEventListener("click", (event) => {
      const found = event.detail ? under(event) : null;
      const { map, head } = found?.one ?? opened;
      context.tooltip.hide();
      context.set({ view: "map", map: map.name, head, query: found?.query ?? null, key: found?.key ?? null });
    });
    button.addEventListener("pointermove", (event) => {
      const found = under(event);
      if (!found) context.tooltip.hide();
      else {
        const { map, weights } = found.one;
        const weight = weights[found.query * map.shape[1] + found.key];
        const words = `${numbered(this.scene.axes[map.queries], found.query)} → ${numbered(this.scene.axes[map.keys], found.key)}`;
        context.tooltip.show(node("div", "", node("bdi", "", words), node("div", "number", weightText(weight))), event.clientX, event.clientY);
      }
    });
    button.addEventListener("pointerleave", () => context.tooltip.hide());
    return {
      element,
      draw(width) {
        const log = context.state.scale === "log" ? decades(drawn.columns.length) : 0;
        at = drawMatrix(canvas, { ...drawn, shade: shading(drawn.top, log), width });
      },
    };
  }
}
