// The tiles of a map: fetched where they are looked at, painted once, drawn at every zoom.
//
// Until a tile is there, what is known of its place is drawn: coarser tiles stretched, finer ones over them. So nothing
// flashes when a level of the pyramid is crossed. A tile that the server made from a sample is asked for again.

import { largest, pixels, shading } from "./canvas.js";

export const SIDE = 256;
const AT_ONCE = 4;
const FADE = 140;

export class Tiles {
  #tiles = new Map(); // "level/row/column" -> {mean, maximum, rows, columns, sampled, since, asked, images}
  #asking = new Set();
  #wanted = [];
  #gone = false;

  // give(level, row, column) -> promise of packed {mean, maximum, sampled}; changed(): there is more to draw
  constructor(camera, give, changed, fail) {
    this.camera = camera;
    this.give = give;
    this.changed = changed;
    this.fail = fail;
    this.still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  }

  destroy() {
    this.#gone = true;
    this.#wanted = [];
  }

  get(level, row, column) {
    return this.#tiles.get(`${level}/${row}/${column}`);
  }

  // The largest of what is shown at a level: colours run up to it. Between the whole (one tile) and single weights it
  // changes evenly, so that a step of the zoom does not change the colours by a jump.
  top(level, channel) {
    const whole = this.get(this.camera.coarsest, 0, 0);
    if (!whole) return 1;
    const weight = (whole.most ??= largest(whole.maximum) || 1);
    if (channel === "maximum" || !this.camera.coarsest) return weight;
    const share = (whole.mostShare ??= Math.min(1, largest(whole.mean) * 2 ** this.camera.coarsest));
    return weight * (Math.max(share, 1e-9) / Math.max(weight, 1e-9)) ** (level / this.camera.coarsest);
  }

  // Draws what is seen; at (left, top) of the context is the corner of the picture.
  // style: {channel, log, theme}. Gives true when all of it is there in full.
  draw(context, style) {
    const { camera } = this;
    const { level } = camera;
    const now = performance.now();
    const wanted = new Map();
    const [firstRow, lastRow] = reach(camera.seenQueries, level);
    const [firstColumn, lastColumn] = reach(camera.seenKeys, level);
    let all = true;
    let fading = false;
    context.imageSmoothingEnabled = false;
    const want = (l, r, c) => {
      const name = `${l}/${r}/${c}`;
      const tile = this.#tiles.get(name);
      if (!tile || tile.sampled) wanted.set(name, [l, r, c]);
      // The longest unseen is forgotten first.
      if (tile && this.#tiles.delete(name)) this.#tiles.set(name, tile);
      return tile;
    };
    // The whole in one tile is the ground under all, and says how large weights are.
    want(camera.coarsest, 0, 0);
    for (let row = firstRow; row <= lastRow; row++) {
      for (let column = firstColumn; column <= lastColumn; column++) {
        const tile = want(level, row, column);
        const age = tile ? (this.still ? 1 : (now - tile.since) / FADE) : 0;
        if (age < 1) {
          this.#coarser(context, style, level, row, column);
          this.#finer(context, style, level, row, column);
          all = false;
        }
        if (tile) {
          fading ||= age < 1;
          context.globalAlpha = Math.min(1, Math.max(0.05, age));
          this.#place(context, style, tile, level, row, column);
          context.globalAlpha = 1;
        }
      }
    }
    this.#fetch([...wanted.values()]);
    if (fading) requestAnimationFrame(() => this.#gone || this.changed());
    return all && !wanted.size;
  }

  // The exact weight of a cell, or the mean and largest of the cell that is drawn there; null where it is not there yet.
  at(query, key) {
    const { level } = this.camera;
    for (let l = level; l <= this.camera.coarsest; l++) {
      const size = 2 ** l;
      const [row, column] = [Math.floor(query / size), Math.floor(key / size)];
      const tile = this.get(l, Math.floor(row / SIDE), Math.floor(column / SIDE));
      if (!tile) continue;
      const at = (row % SIDE) * tile.columns + (column % SIDE);
      return { level: l, size, mean: tile.mean[at], maximum: tile.maximum[at], sampled: tile.sampled };
    }
    return null;
  }

  #coarser(context, style, level, row, column) {
    for (let l = level + 1; l <= this.camera.coarsest; l++) {
      const step = 2 ** (l - level);
      const tile = this.get(l, Math.floor(row / step), Math.floor(column / step));
      if (!tile) continue;
      const part = SIDE / step;
      const [y, x] = [(row % step) * part, (column % step) * part];
      this.#place(context, style, tile, level, row, column, [x, y, part, part], l);
      return;
    }
  }

  #finer(context, style, level, row, column) {
    if (!level) return;
    for (const [dr, dc] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
      const tile = this.get(level - 1, row * 2 + dr, column * 2 + dc);
      if (tile) this.#place(context, style, tile, level - 1, row * 2 + dr, column * 2 + dc);
    }
  }

  // part: of the tile's picture [x, y, width, height], in its cells; all of it by default.
  #place(context, style, tile, level, row, column, part = null, own = level) {
    const { camera } = this;
    const side = SIDE * 2 ** level;
    const across = part ? Math.min(part[2], tile.columns - part[0]) : tile.columns;
    const down = part ? Math.min(part[3], tile.rows - part[1]) : tile.rows;
    if (across <= 0 || down <= 0) return;
    const size = 2 ** own;
    const x0 = Math.round(camera.left(column * side));
    const y0 = Math.round(camera.top(row * side));
    const x1 = Math.round(camera.left(column * side + across * size));
    const y1 = Math.round(camera.top(row * side + down * size));
    const [px, py] = part ?? [0, 0];
    context.drawImage(this.#image(tile, own, style), px, py, across, down, x0, y0, x1 - x0, y1 - y0);
  }

  #image(tile, level, { channel, log, theme }) {
    const top = this.top(level, channel);
    const key = `${channel} ${log} ${theme} ${top}`;
    if (tile.painted !== key) {
      tile.painted = key;
      // A cell shows how much of a query's attention its keys have together: a line one key wide stays as dark as it is.
      const times = channel === "mean" ? 2 ** level : 1;
      tile.image = pixels(tile[channel], tile.rows, tile.columns, shading(top, log), times, tile.image);
    }
    return tile.image;
  }

  // Those in the middle first; of those that were not asked for yet only what is wanted now.
  #fetch(wanted) {
    const { camera } = this;
    const far = ([level, row, column]) => {
      const side = SIDE * 2 ** level;
      return level === camera.coarsest ? -1 : Math.hypot((column + 0.5) * side - camera.x, (row + 0.5) * side - camera.y);
    };
    this.#wanted = wanted.sort((a, b) => far(a) - far(b));
    this.#next();
  }

  #next() {
    const now = performance.now();
    for (const [level, row, column] of this.#wanted) {
      if (this.#asking.size >= AT_ONCE) return;
      const name = `${level}/${row}/${column}`;
      const known = this.#tiles.get(name);
      if (this.#asking.has(name) || (known && now - known.asked < known.patience)) continue;
      this.#ask(name, level, row, column);
    }
  }

  async #ask(name, level, row, column) {
    this.#asking.add(name);
    const known = this.#tiles.get(name);
    try {
      const given = await this.give(level, row, column);
      if (this.#gone) return;
      const [rows, columns] = given.mean.shape;
      const patience = Math.min(8000, (known?.patience ?? 700) * 1.5);
      this.#tiles.set(name, {
        mean: given.mean,
        maximum: given.maximum ?? given.mean,
        rows,
        columns,
        sampled: Boolean(given.sampled),
        since: known ? -Infinity : performance.now(),
        asked: performance.now(),
        patience,
      });
      if (given.sampled) setTimeout(() => this.#gone || this.changed(), patience + 20);
      this.#forget();
    } catch (error) {
      if (!this.#gone) this.fail(error);
      // Not again at once.
      if (!known) setTimeout(() => this.#asking.delete(name), 4000);
      else known.asked = performance.now();
      if (!known) return;
    }
    this.#asking.delete(name);
    if (!this.#gone) {
      this.changed();
      this.#next();
    }
  }

  #forget() {
    for (const name of this.#tiles.keys()) {
      if (this.#tiles.size <= 200) return;
      if (!name.startsWith(`${this.camera.coarsest}/`)) this.#tiles.delete(name);
    }
  }
}

// Numbers of the first and the last tile that have some of these rows (or columns).
function reach([first, behind], level) {
  const side = SIDE * 2 ** level;
  return [Math.floor(first / side), Math.floor(Math.max(first, behind - 1) / side)];
}
