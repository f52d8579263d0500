// One head as a map: from the whole sequence down to single weights.
//
// The picture is a canvas in two layers: weights, labels and tracks below, what is pointed at above. The numbers beside it
// are those of the query that is fixed.

import { Camera } from "./camera.js";
import { decades, fit, pictureDrawn } from "./canvas.js";
import { withoutChooser } from "./choosers.js";
import { button, choice, menu, node } from "./controls.js";
import { saveNumbers, savePicture } from "./export.js";
import { follow } from "./gestures.js";
import { drawLabels, gutters } from "./labels.js";
import { drawFrame, drawLegend, drawNumbers, drawPointer, drawTakenOut, LEGEND } from "./map_drawing.js";
import { RowTable } from "./row_table.js";
import { beside, chosen, moved } from "./state.js";
import { Tiles } from "./tiles.js";
import { mapTitle, numbered, weightText } from "./tokens.js";
import { Tracks } from "./tracks.js";
import { takenOut, takenOutWords, Without } from "./without.js";

export const view = {
  name: "map",
  title: "Map",
  hint: "One head, from the whole sequence down to each weight.",
  available: (scene) => (scene.maps.length ? true : "This model attends to nothing that could be shown."),
  mount: (container, context) => new MapView(container, context),
};

class MapView {
  constructor(container, context) {
    this.context = context;
    this.gone = false;
    this.at = null; // {query, key} under the pointer
    this.frame = 0;
    this.key = "";
    this.below = document.createElement("canvas");
    this.above = document.createElement("canvas");
    this.stage = node("div", "stage", this.below, this.above);
    this.stage.tabIndex = 0;
    this.stage.setAttribute("role", "application");
    this.stage.setAttribute("aria-roledescription", "map of weights");
    this.side = node("aside", "side");
    this.row = new RowTable(this.side, context);
    container.append(this.controls(), node("div", "spread", this.stage, this.side));
    this.side.append(
      node(
        "div",
        "saving",
        button("Save picture", () => savePicture(this), "What is seen, as PNG"),
        button("Save weights", () => this.context.wait(saveNumbers(this), "Gathering the weights").catch(context.fail), "The weights that are seen, as CSV"),
      ),
    );
    this.letGo = follow(this.stage, this);
    this.resized = new ResizeObserver(() => this.layout());
    this.resized.observe(this.stage);
    this.update();
  }

  controls() {
    const { context } = this;
    const go = (step) => context.set(beside(context.scene, context.state, step));
    this.map = menu("Map", [], (number) => {
      const { scene, state } = context;
      context.set(moved(chosen(scene, state).map, scene.maps[number], 0));
    });
    this.headMenu = menu("Head", [], (head) => context.set({ head: head === "mean" ? "mean" : Number(head) }));
    const previous = button("‹", () => go(-1), "The head before ( [ )");
    const next = button("›", () => go(1), "The next head ( ] )");
    previous.setAttribute("aria-label", "The head before");
    next.setAttribute("aria-label", "The next head");
    this.channel = choice("What a cell shows", [
      ["mean", "Mean", "From afar a cell shows the mean of its weights"],
      ["maximum", "Largest", "From afar a cell shows its largest weight: thin lines stay in sight"],
    ], (channel) => context.set({ channel }));
    this.scale = choice("Scale of colours", [
      ["linear", "Linear"],
      ["log", "Log", "Small weights become visible"],
    ], (scale) => context.set({ scale }));
    this.out = withoutChooser(context);
    const zoom = node("div", "choice", ...[
      ["−", 1 / 1.6, "Farther ( − )"],
      ["+", 1.6, "Nearer ( + )"],
      ["all", 0, "All of it ( 0 )"],
    ].map(([words, factor, title]) => {
      const one = button(words, () => (factor ? this.zoom(factor) : this.whole()), title);
      one.className = "";
      one.setAttribute("aria-label", title.split(" (")[0]);
      return one;
    }));
    const heads = node("span", "pair", this.headMenu.element, previous, next);
    return node("div", "controls", this.map.element, heads, zoom, this.channel.element, this.scale.element, ...this.out.elements);
  }

  destroy() {
    this.gone = true;
    this.letGo();
    this.resized.disconnect();
    this.tiles?.destroy();
    this.tracks?.destroy();
    cancelAnimationFrame(this.frame);
    this.context.tooltip.hide();
  }

  // What the state says: which head, how near, what is fixed.
  update() {
    const { scene, state, source } = this.context;
    const { number, map, head } = chosen(scene, state);
    const key = [number, head, state.without].join();
    if (key !== this.key) {
      const other = this.key.split(",")[0] !== String(number);
      this.key = key;
      if (other || !this.camera) {
        const before = this.camera;
        this.camera = new Camera(...map.shape);
        // Heads of the same size are looked at from the same place.
        if (before && before.queries === this.camera.queries && before.keys === this.camera.keys) {
          Object.assign(this.camera, { x: before.x, y: before.y, zoom: before.zoom });
        }
      }
      this.begin(scene, source, number, map, head);
    }
    this.place(state);
    this.fixed = {
      query: state.query !== null && state.query < map.shape[0] ? state.query : null,
      key: state.key !== null && state.key < map.shape[1] ? state.key : null,
    };
    this.row.show(number, map, head, this.fixed, this.without);
    this.show(scene, state, number, map, head);
    this.redraw();
  }

  begin(scene, source, number, map, head) {
    const { context } = this;
    this.tiles?.destroy();
    this.tracks?.destroy();
    this.axes = { queries: scene.axes[map.queries], keys: scene.axes[map.keys] };
    const out = takenOut(scene, map, context.state.without);
    this.without = out.size ? new Without(source, scene, number, head, out) : null;
    const give = this.without
      ? (level, row, column) => this.without.tile(level, row, column)
      : (level, row, column) => source.tile(scene, number, head, level, row, column);
    let first = true;
    const shown = (...place) => {
      const tile = give(...place);
      if (first) context.wait(tile, "Reading the weights").catch(() => {});
      first = false;
      return tile;
    };
    this.tiles = new Tiles(this.camera, shown, () => this.redraw(), context.fail);
    this.tracks = new Tracks(context, number, head, () => this.redraw());
    this.layout();
  }

  place({ x, y, zoom }) {
    const now = this.told();
    if (x === now.x && y === now.y && zoom === now.zoom) return;
    if (this.moving) return; // the address follows the hand, not the other way round
    const { camera } = this;
    Object.assign(camera, { zoom, x: x ?? camera.keys / 2, y: y ?? camera.queries / 2 });
    camera.stay();
  }

  // The camera as the address has it.
  told() {
    const { x, y, zoom } = this.camera;
    const short = (value) => Number(value.toPrecision(7));
    return zoom === null ? { x: null, y: null, zoom: null } : { x: short(x), y: short(y), zoom: short(zoom) };
  }

  show(scene, state, number, map, head) {
    this.map.show(number, scene.maps.map((one, i) => [i, mapTitle(one)]));
    const heads = [...Array(map.heads).keys()].map((one) => [one, `${one + 1} of ${map.heads}`]);
    this.headMenu.show(head, map.heads > 1 ? [...heads, ["mean", "mean of all"]] : heads);
    this.channel.show(state.channel);
    this.scale.show(state.scale);
    this.out.update(this.axes.keys);
    this.stage.setAttribute(
      "aria-label",
      `${mapTitle(map, head)}: ${map.shape[0]} queries by ${map.shape[1]} keys. Arrows go from weight to weight, plus and minus zoom, 0 shows all.`,
    );
  }

  layout() {
    if (!this.camera || this.gone) return;
    const width = this.stage.clientWidth;
    if (!width) return;
    this.phone = width < 560;
    const top = this.stage.getBoundingClientRect().top + scrollY;
    const height = this.phone ? Math.min(width * 1.15, innerHeight * 0.8) : Math.max(620, innerHeight - Math.min(top, 330) - 28);
    this.gutter = gutters(this.axes, this.phone);
    this.room = Tracks.room(this.phone);
    this.camera.room(
      width - this.gutter.left - Math.max(this.room.right, 8),
      height - this.gutter.top - this.room.below - LEGEND,
    );
    this.redraw();
  }

  redraw() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      if (!this.gone) this.draw();
    });
  }

  get origin() {
    return { x: this.gutter.left, y: this.gutter.top };
  }

  get style() {
    const { state, theme } = this.context;
    return { channel: state.channel, log: state.scale === "log" ? decades(this.camera.keys) : 0, theme };
  }

  draw() {
    if (!this.gutter) return;
    const { camera, origin, phone } = this;
    const width = this.stage.clientWidth;
    const height = origin.y + camera.plotHeight + this.room.below + LEGEND;
    this.size = { width, height };
    this.stage.style.height = `${height}px`;
    // With one finger the page is moved while all of the map is seen, the map when one is near.
    this.stage.style.touchAction = camera.zoom === null ? "pan-x pan-y" : "none";
    const context = fit(this.below, width, height);
    this.paint(context);
    this.point();
    // A picture counts when the weights are in it.
    const there = Boolean(this.tiles.get(camera.coarsest, 0, 0));
    this.stage.setAttribute("aria-busy", String(!there));
    if (there) pictureDrawn();
    this.phone = phone;
  }

  // All but the pointer; also what is saved.
  paint(context) {
    const { camera, origin, style, tiles } = this;
    context.save();
    context.beginPath();
    context.rect(origin.x, origin.y, camera.plotWidth, camera.plotHeight);
    context.clip();
    context.translate(origin.x, origin.y);
    const can = this.without ? this.without.can(camera.level) : true;
    if (can === true) {
      tiles.draw(context, style);
      if (this.without) drawTakenOut(context, camera, this.without.out);
      drawNumbers(context, camera, tiles, style);
    }
    context.restore();
    drawFrame(context, camera, origin, can === true ? "" : can);
    drawLabels(context, camera, this.axes, origin, this.gutter, this.at, this.fixed);
    this.tracks.draw(context, camera, origin, this.phone);
    this.end = drawLegend(context, this, this.words(can));
  }

  // What the picture shows, in words that stand in it.
  words(can) {
    const { camera, style, context, without, tiles } = this;
    const { map, head } = chosen(context.scene, context.state);
    const size = 2 ** camera.level;
    const cell = size === 1
      ? "each cell is one weight"
      : style.channel === "mean"
        ? `each cell: the share its ${size} queries give to its ${size} keys, on average`
        : `each cell: the largest of ${size} × ${size} weights`;
    const sampled = tiles.get(camera.level, 0, 0)?.sampled ? " (from some of the queries; the rest follows)" : "";
    const left = without && can === true ? ` · without ${takenOutWords(context.state.without)}: what is left of each row adds up to 1` : "";
    return { title: mapTitle(map, head), cell: cell + sampled + left };
  }

  point() {
    const context = fit(this.above, this.size.width, this.size.height);
    drawPointer(context, this.camera, this.origin, this.at, this.fixed);
  }

  // From here on what gestures ask for; pixels are those of the stage.

  zoom(factor, x = null, y = null) {
    const { camera, origin } = this;
    const { width, height } = { width: camera.plotWidth, height: camera.plotHeight };
    let [px, py] = [width / 2, height / 2];
    if (x !== null) [px, py] = [x - origin.x, y - origin.y];
    else if (this.fixed.query !== null) {
      // Without a pointer, what is fixed is gone nearer to.
      px = Math.min(Math.max(camera.left((this.fixed.key ?? camera.x) + 0.5), 0), width);
      py = Math.min(Math.max(camera.top(this.fixed.query + 0.5), 0), height);
    }
    camera.zoomAt(factor, px, py);
    this.moved();
  }

  whole() {
    this.camera.zoom = null;
    this.camera.stay();
    this.moved();
  }

  shift(dx, dy) {
    this.camera.move(dx, dy);
    this.moved();
  }

  moved() {
    this.redraw();
    this.moving = true;
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      this.moving = false;
      if (!this.gone) this.context.set(this.told());
    }, 150);
  }

  // The cell at a pixel of the stage; null beside the picture.
  cell(x, y) {
    const { camera, origin } = this;
    const [px, py] = [x - origin.x, y - origin.y];
    if (px < 0 || py < 0 || px >= camera.plotWidth || py >= camera.plotHeight) return null;
    return { query: Math.floor(camera.queryAt(py)), key: Math.floor(camera.keyAt(px)) };
  }

  hover(x, y, clientX, clientY) {
    const { tooltip } = this.context;
    const at = x === null || !this.gutter ? null : this.cell(x, y);
    if (at?.query !== this.at?.query || at?.key !== this.at?.key) {
      this.at = at;
      this.redraw();
    }
    if (x === null) {
      tooltip.hide();
    } else if (at) {
      tooltip.show(this.said(at), clientX, clientY);
    } else {
      const track = this.tracks.at(x, y, this.camera, this.origin, this.axes);
      if (track) tooltip.show(node("div", "", node("bdi", "", track.words), node("div", "number", track.value), node("div", "note", track.of)), clientX, clientY);
      else tooltip.hide();
    }
  }

  // What is at a cell, as nodes for the tooltip.
  said({ query, key }) {
    const { queries, keys } = this.axes;
    const found = this.tiles.at(query, key);
    const place = node("div", "", node("bdi", "", numbered(queries, query)), " → ", node("bdi", "", numbered(keys, key)));
    const value = node("div", "number");
    if (!found) value.textContent = "…";
    else if (this.without?.out.has(key)) value.textContent = "taken out";
    else if (found.size === 1) {
      const strong = node("strong", "", weightText(found.mean));
      value.append(strong, found.mean >= 0.00095 ? "" : "", exact(found.mean));
    } else {
      value.textContent = `${found.size} × ${found.size} weights here: mean ${weightText(found.mean)}, largest ${weightText(found.maximum)}`;
    }
    return node("div", "", place, value);
  }

  fix(cell) {
    const { context } = this;
    context.set(cell ? { query: cell.query, key: cell.key } : { query: null, key: null });
    if (!cell) return;
    const found = this.tiles.at(cell.query, cell.key);
    const { queries, keys } = this.axes;
    const weight = found?.size === 1 ? `, weight ${weightText(found.mean)}` : "";
    context.announce(`${numbered(queries, cell.query)} looks at ${numbered(keys, cell.key)}${weight}.`);
  }

  // One weight on, by keyboard.
  step(down, across) {
    const { camera } = this;
    const from = {
      query: this.fixed.query ?? Math.floor(camera.y - (down || 0)),
      key: this.fixed.key ?? Math.floor(camera.x - (across || 0)),
    };
    const clamp = (value, length) => Math.min(Math.max(value, 0), length - 1);
    const to = { query: clamp(from.query + down, camera.queries), key: clamp(from.key + across, camera.keys) };
    camera.reveal(to.query, to.key);
    this.moved();
    this.fix(to);
  }
}

// All digits of a float32, after the ones that are read first.
function exact(weight) {
  const digits = String(Number(weight.toPrecision(8)));
  return digits.length > 6 ? `  (${digits})` : "";
}
