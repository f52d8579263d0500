// All heads of a model side by side, so that the interesting one is found.
//
// Each head is a small picture and a bar of the statistic that was chosen; they stand by layer, or in the order of the
// statistic. Above them are those that stand out, in words. A model with few small heads shows them with their words.

import { decades, largest, pictureDrawn, pixels, shading } from "./canvas.js";
import { choice, menu, node } from "./controls.js";
import { isSmall, smallMatrices } from "./few_heads.js";
import { chosen, moved } from "./state.js";
import { about, heads, offered, sentence, standOuts, told } from "./statistics.js";
import { GROUPS, mapTitle } from "./tokens.js";

const NAMES = {
  encoder: "Encoder, attending to itself",
  decoder: "Decoder, attending to itself",
  cross: "Decoder, attending to the encoder",
  memory: "Attending to memory",
};
const ORDERS = [
  ["layer", "by layer"],
  ["highest", "highest first"],
  ["lowest", "lowest first"],
  ["across-highest", "highest first, all groups"],
  ["across-lowest", "lowest first, all groups"],
];

export const view = {
  name: "overview",
  title: "Overview",
  hint: "All layers and heads at a glance, and which of them stand out.",
  available: (scene) => (scene.maps.length ? true : "This model attends to nothing that could be shown."),
  mount(container, context) {
    return new Overview(container, context);
  },
};

class Overview {
  constructor(container, context) {
    this.context = context;
    this.container = container;
    this.packed = null;
    this.pictures = null;
    this.list = [];
    this.buttons = new Map(); // "number.head" -> button
    this.built = "";
    this.timer = 0;
    this.gone = false;

    this.statistic = menu("Statistic", [], (statistic) => context.set({ statistic }));
    this.order = menu("Order", ORDERS, (order) => context.set({ order }));
    this.channel = choice("What a cell shows", [
      ["mean", "Mean", "Each cell shows the mean of its weights"],
      ["maximum", "Largest", "Each cell shows its largest weight: thin lines stay in sight"],
    ], (channel) => context.set({ channel }));
    this.scale = choice("Scale of colours", [
      ["linear", "Linear"],
      ["log", "Log", "Small weights become visible"],
    ], (scale) => context.set({ scale }));
    this.sentence = node("p", "note");
    this.stand = node("div", "stand-outs");
    this.groups = node("div", "groups");
    this.controls = node("div", "controls");
    this.controls.append(this.statistic.element, this.order.element, this.channel.element, this.scale.element);
    this.controls.hidden = true;
    container.append(this.stand, this.controls, this.sentence, this.groups);

    this.groups.addEventListener("keydown", (event) => this.key(event));
    this.groups.addEventListener("pointermove", (event) => this.hover(event));
    this.groups.addEventListener("pointerleave", () => context.tooltip.hide());
    this.resized = new ResizeObserver(() => this.update());
    this.resized.observe(container);
    this.load();
  }

  async load(again = 0) {
    const { source, scene, fail, wait } = this.context;
    try {
      if (isSmall(scene)) {
        const matrices = await wait(smallMatrices(source, scene), "Loading the weights");
        if (!this.gone) this.matrices = matrices;
      } else {
        const pictures = source.thumbnails(scene);
        this.pictures = await (again ? pictures : wait(pictures, "Drawing the heads"));
      }
    } catch (error) {
      if (!this.gone) fail(error);
      return;
    }
    if (this.gone) return;
    this.draw();
    // What stands out is told a moment after the pictures are there.
    try {
      this.packed = await source.statistics(scene);
    } catch (error) {
      if (!this.gone && !again) fail(error);
    }
    if (this.gone) return;
    this.list = heads(scene, this.packed);
    this.draw();
    if (this.pictures?.sampled) this.timer = setTimeout(() => this.load(again + 1), 3000 + 2000 * Math.min(again, 6));
  }

  update() {
    if (this.pictures || this.matrices) this.draw();
  }

  destroy() {
    this.gone = true;
    clearTimeout(this.timer);
    this.resized.disconnect();
    this.matrices?.destroy();
  }

  draw() {
    const { scene, state } = this.context;
    const few = Boolean(this.matrices);
    this.controls.hidden = few;
    this.sentence.hidden = few;
    if (few) {
      this.matrices.draw(this.groups, this.context);
      pictureDrawn();
      return;
    }
    const names = offered(this.list, this.packed?.names ?? []);
    const statistic = names.includes(state.statistic) ? state.statistic : names[0];
    this.by = statistic;
    this.statistic.show(statistic, names.map((name) => [name, about(name).title]));
    this.statistic.element.hidden = this.order.element.hidden = !names.length;
    this.order.show(state.order);
    this.channel.show(state.channel);
    this.scale.show(state.scale);
    this.sentence.textContent = [
      statistic ? sentence(this.packed, statistic) : "",
      "Colours run up to each head’s own largest.",
      this.pictures.sampled ? "Taken from some of the queries; the rest follows." : "",
    ].join(" ");
    this.build();
    this.paint();
    this.bars();
    this.standOut();
    pictureDrawn();
  }

  // Puts the heads where the order wants them; only when that changed.
  build() {
    const { scene, state } = this.context;
    const all = this.list.length ? this.list : heads(scene, null);
    const sorted = state.order !== "layer" && this.by;
    const key = JSON.stringify([state.order, sorted && this.by, all.length && this.list.length]);
    if (key === this.built) return;
    this.built = key;
    this.buttons.clear();
    const groups = state.order.startsWith("across") && sorted ? [null] : [...new Set(scene.maps.map((map) => map.group))];
    this.groups.replaceChildren(
      ...groups.map((group) => {
        const own = all.filter((one) => group === null || one.map.group === group);
        return sorted ? this.row(group, this.sort(own)) : this.grid(group, own);
      }),
    );
    this.rove();
  }

  sort(list) {
    const sign = this.context.state.order.endsWith("lowest") ? 1 : -1;
    const value = (one) => (Number.isFinite(one.values[this.by]) ? one.values[this.by] : sign * Infinity);
    return [...list].sort((a, b) => sign * (value(a) - value(b)));
  }

  // Layers below each other, heads beside each other.
  grid(group, list) {
    const layers = [...new Set(list.map((one) => one.number))];
    const most = Math.max(...layers.map((number) => this.context.scene.maps[number].heads));
    const grid = node("div", "grid");
    grid.style.setProperty("--heads", most);
    layers.forEach((number) => {
      const { layer } = this.context.scene.maps[number];
      grid.append(node("span", "layer number", String(layer + 1)));
      for (let head = 0; head < most; head++) {
        const one = list.find((each) => each.number === number && each.head === head);
        grid.append(one ? this.head(one, false) : node("span"));
      }
    });
    return this.section(group, grid);
  }

  row(group, list) {
    return this.section(group, node("div", "flow", ...list.map((one) => this.head(one, true))));
  }

  section(group, content) {
    const { scene } = this.context;
    const maps = scene.maps.filter((map) => group === null || map.group === group);
    const title = node("h3", "", group === null ? "All heads" : (NAMES[group] ?? group));
    const shapes = new Set(maps.map((map) => `${map.shape[0].toLocaleString("en")} × ${map.shape[1].toLocaleString("en")}`));
    const many = `${maps.length} ${group === "memory" ? "hops" : maps.length === 1 ? "layer" : "layers"}, ${maps[0].heads} ${maps[0].heads === 1 ? "head" : "heads"} each`;
    const size = node("p", "size number", group === null ? "" : `${many} · ${[...shapes].join(", ")}`);
    const section = node("section", "group", title, size, node("div", "scroller", content));
    section.setAttribute("aria-label", title.textContent);
    return section;
  }

  head(one, captioned) {
    const button = node("button", "head");
    button.type = "button";
    const canvas = document.createElement("canvas");
    button.append(node("span", "picture", canvas), node("span", "bar", node("span")));
    if (captioned) button.append(node("span", "caption number", `${GROUPS[one.map.group]?.[0] ?? "?"}${one.map.layer + 1}·${one.head + 1}`));
    button.dataset.head = `${one.number}.${one.head}`;
    button.addEventListener("click", () => this.open(one));
    this.buttons.set(button.dataset.head, button);
    return button;
  }

  open({ map, head }) {
    this.context.tooltip.hide();
    const { scene, state, set } = this.context;
    set({ ...moved(chosen(scene, state).map, map, head), view: "map", x: null, y: null, zoom: null });
  }

  paint() {
    const { scene, state, theme } = this.context;
    const key = [state.channel, state.scale, theme, this.built].join();
    if (this.painted === key && this.paintedOf === this.pictures) return;
    this.painted = key;
    this.paintedOf = this.pictures;
    for (const [name, button] of this.buttons) {
      const [number, head] = name.split(".").map(Number);
      this.thumbnail(number, head, button.querySelector("canvas"));
    }
  }

  thumbnail(number, head, canvas) {
    const { scene, state } = this.context;
    const map = scene.maps[number];
    const stack = this.pictures[`${state.channel}${number}`];
    const [, rows, columns] = stack.shape;
    const cells = stack.subarray(head * rows * columns, (head + 1) * rows * columns);
    // The mean of a cell times its keys: the share of a query's attention that goes there.
    const times = state.channel === "mean" ? this.pictures.cells[number][1] : 1;
    const top = largest(cells) * times;
    pixels(cells, rows, columns, shading(top, state.scale === "log" ? decades(map.shape[1]) : 0), times, canvas);
    const tall = map.shape[0] / map.shape[1];
    canvas.style.aspectRatio = `${columns} / ${rows}`;
    canvas.style.width = tall > 1 ? `${Math.max(100 / tall, 12)}%` : "100%";
    canvas.style.height = tall > 1 ? "100%" : `${Math.max(100 * tall, 12)}%`;
  }

  bars() {
    const { scene, state } = this.context;
    const now = chosen(scene, state);
    const most = about(this.by ?? "").share ? 1 : Math.max(1e-9, ...this.list.map((one) => one.values[this.by]).filter(Number.isFinite));
    for (const one of this.list.length ? this.list : heads(scene, null)) {
      const button = this.buttons.get(`${one.number}.${one.head}`);
      const value = one.values[this.by];
      const bar = button.querySelector(".bar > span");
      bar.style.width = Number.isFinite(value) ? `${Math.max(0, Math.min(1, value / most)) * 100}%` : "0";
      button.setAttribute(
        "aria-label",
        `${mapTitle(one.map, one.head)}${this.by ? `, ${about(this.by).title.toLowerCase()} ${told(this.by, value)}` : ""}`,
      );
      button.classList.toggle("now", Boolean(state.map) && one.number === now.number && one.head === now.head);
    }
  }

  standOut() {
    const found = standOuts(this.list);
    this.stand.hidden = !found.length;
    const { state, theme } = this.context;
    const key = JSON.stringify([found.map((one) => [one.number, one.head, one.by, one.value]), state.channel, state.scale, theme]);
    if (!found.length || key === this.stood) return;
    this.stood = key;
    const list = node(
      "ul",
      "",
      ...found.map((one) => {
        const canvas = document.createElement("canvas");
        this.thumbnail(one.number, one.head, canvas);
        const words = node(
          "span",
          "words",
          node("span", "what", one.words),
          node("span", "where number", `${mapTitle(one.map, one.head)} · ${told(one.by, one.value)}`),
        );
        const button = node("button", "stand-out", node("span", "picture", canvas), words);
        button.type = "button";
        button.title = sentence(this.packed, one.by);
        button.addEventListener("click", () => this.open(one));
        return node("li", "", button);
      }),
    );
    this.stand.replaceChildren(node("h3", "", "Heads that stand out"), list);
  }

  // One of all heads is in the order of the Tab key; arrows go from there.
  rove(to = null) {
    const all = [...this.buttons.values()];
    const current = to ?? all.find((one) => one.tabIndex === 0 && one.isConnected) ?? all[0];
    for (const one of all) one.tabIndex = one === current ? 0 : -1;
    if (to) to.focus();
  }

  key(event) {
    const from = document.activeElement;
    if (!from?.dataset?.head) return;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const here = from.getBoundingClientRect();
    const middle = (box) => [box.left + box.width / 2, box.top + box.height / 2];
    const [x, y] = middle(here);
    let best = null;
    let least = Infinity;
    for (const button of this.buttons.values()) {
      const [bx, by] = middle(button.getBoundingClientRect());
      const along = (bx - x) * step[0] + (by - y) * step[1];
      const aside = Math.abs((bx - x) * step[1]) + Math.abs((by - y) * step[0]);
      if (along < 2 || (step[0] && aside > here.height / 2)) continue;
      const far = along + aside * 3;
      if (far < least) [least, best] = [far, button];
    }
    if (best) this.rove(best);
  }

  hover(event) {
    const button = event.target.closest?.("[data-head]");
    if (!button || event.pointerType === "touch") {
      this.context.tooltip.hide();
      return;
    }
    const [number, head] = button.dataset.head.split(".").map(Number);
    const one = this.list.find((each) => each.number === number && each.head === head);
    const map = this.context.scene.maps[number];
    const title = node("strong", "", mapTitle(map, head));
    const names = one ? offered([one], this.packed.names) : [];
    const table = node("table", "numbers", ...names.map((name) =>
      node("tr", name === this.by ? "chosen" : "", node("td", "", about(name).title), node("td", "number", told(name, one.values[name]))),
    ));
    this.context.tooltip.show(node("div", "", title, table), event.clientX, event.clientY);
  }
}
