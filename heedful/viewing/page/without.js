// Columns taken out of a head, and what is left of each row made to add up to 1 again.
//
// Heads often rest on a separator or on the first token; taken out, the rest can be seen. Small matrices are renormalised
// whole; of large ones only single weights (level 0), for which the columns that are taken out are enough.

import { SIDE } from "./tiles.js";

const WHOLE = 2 ** 20; // weights that are asked for at once
const COLUMNS = 2 ** 22; // of the columns that are taken out, all together

// "special,first" -> Set of the keys that are meant
export function takenOut(scene, map, without) {
  const kinds = new Set(without.split(","));
  const keys = new Set(kinds.has("special") ? scene.axes[map.keys].special : []);
  if (kinds.has("first")) keys.add(0);
  return keys;
}

export class Without {
  // out: Set of keys
  constructor(source, scene, number, head, out) {
    Object.assign(this, { source, scene, number, head, out });
    [this.queries, this.keys] = scene.maps[number].shape;
    this.whole = this.queries * this.keys <= WHOLE;
    this.possible = this.whole || out.size * this.queries <= COLUMNS;
  }

  // Whether a level can be shown; if not, why, in one sentence.
  can(level) {
    if (!this.possible) return "So many columns cannot be taken out of so long a text.";
    return this.whole || level === 0 ? true : "Go nearer: only single weights can be renormalised here.";
  }

  async tile(level, row, column) {
    if (this.whole) {
      this.pyramid ??= this.#all();
      const levels = await this.pyramid;
      return cut(levels[level], row, column);
    }
    if (level) return nothing(Math.ceil(this.queries / 2 ** level), Math.ceil(this.keys / 2 ** level), row, column);
    const [tile, lost] = await Promise.all([this.source.tile(this.scene, this.number, this.head, 0, row, column), this.lost()]);
    const [rows, columns] = tile.mean.shape;
    const mean = this.#renormalised(tile.mean, rows, columns, row * SIDE, column * SIDE, lost);
    mean.shape = [rows, columns];
    return { mean, maximum: mean, sampled: false };
  }

  // How much of each query's attention is taken out, Float64Array (queries).
  lost() {
    return (this.losing ??= this.#lose());
  }

  async #lose() {
    const lost = new Float64Array(this.queries);
    for (const [first, behind] of runs(this.out)) {
      const rows = Math.max(1, Math.floor(WHOLE / (behind - first)));
      for (let from = 0; from < this.queries; from += rows) {
        const to = Math.min(this.queries, from + rows);
        const { weights } = await this.source.weights(this.scene, this.number, this.head, [from, to], [first, behind]);
        weights.forEach((weight, i) => (lost[from + Math.floor(i / (behind - first))] += weight));
      }
    }
    return lost;
  }

  // weights of rows and columns from (firstRow, firstColumn) on -> renormalised; NaN where they are taken out, and in
  // rows of which nothing is left.
  #renormalised(weights, rows, columns, firstRow, firstColumn, lost) {
    const found = new Float32Array(weights.length);
    for (let row = 0; row < rows; row++) {
      const left = 1 - lost[firstRow + row];
      for (let column = 0; column < columns; column++) {
        const at = row * columns + column;
        const gone = this.out.has(firstColumn + column) || left < 1e-6;
        found[at] = gone ? NaN : weights[at] / left;
      }
    }
    return found;
  }

  renormalised(weights, [a, b], [c, d]) {
    return this.lost().then((lost) => this.#renormalised(weights, b - a, d - c, a, c, lost));
  }

  async #all() {
    const [{ weights }, lost] = await Promise.all([
      this.source.weights(this.scene, this.number, this.head, [0, this.queries], [0, this.keys]),
      this.lost(),
    ]);
    let mean = this.#renormalised(weights, this.queries, this.keys, 0, 0, lost);
    let level = { mean, maximum: mean, rows: this.queries, columns: this.keys };
    const levels = [level];
    while (Math.max(level.rows, level.columns) > SIDE) levels.push((level = coarser(level)));
    return levels;
  }
}

// Cells of twice as many rows and columns; what is taken out does not count.
function coarser({ mean, maximum, rows, columns }) {
  const [down, across] = [Math.ceil(rows / 2), Math.ceil(columns / 2)];
  const next = { mean: new Float32Array(down * across), maximum: new Float32Array(down * across), rows: down, columns: across };
  for (let row = 0; row < down; row++) {
    for (let column = 0; column < across; column++) {
      let [sum, count, most] = [0, 0, NaN];
      for (let r = row * 2; r < Math.min(rows, row * 2 + 2); r++) {
        for (let c = column * 2; c < Math.min(columns, column * 2 + 2); c++) {
          const at = r * columns + c;
          if (Number.isNaN(mean[at])) continue;
          sum += mean[at];
          count += 1;
          most = most > maximum[at] ? most : maximum[at];
        }
      }
      next.mean[row * across + column] = count ? sum / count : NaN;
      next.maximum[row * across + column] = most;
    }
  }
  return next;
}

function cut({ mean, maximum, rows, columns }, row, column) {
  const [top, left] = [row * SIDE, column * SIDE];
  const [down, across] = [Math.min(SIDE, rows - top), Math.min(SIDE, columns - left)];
  const part = (from) => {
    const found = new Float32Array(down * across);
    for (let r = 0; r < down; r++) {
      const start = (top + r) * columns + left;
      found.set(from.subarray(start, start + across), r * across);
    }
    found.shape = [down, across];
    return found;
  };
  return { mean: part(mean), maximum: part(maximum), sampled: false };
}

// A tile in which nothing is known.
function nothing(rows, columns, row, column) {
  const [down, across] = [Math.min(SIDE, rows - row * SIDE), Math.min(SIDE, columns - column * SIDE)];
  const mean = new Float32Array(down * across).fill(NaN);
  mean.shape = [down, across];
  return { mean, maximum: mean, sampled: false };
}

// Set of numbers -> [first, behind the last] of those that follow each other
export function runs(numbers) {
  const found = [];
  for (const number of [...numbers].sort((a, b) => a - b)) {
    if (found.length && found.at(-1)[1] === number) found.at(-1)[1] = number + 1;
    else found.push([number, number + 1]);
  }
  return found;
}
