// Columns taken out of a head, and what is left of each row made to add up to 1 again.
//
// Heads often rest on a separator or on the first token; taken out, the rest can be seen. Small matrices are renormalised
// whole; of large ones only single weights (level 0), for which the columns that are taken out are enough, and what each
// row sums to: less than 1 where a sink or a window has a share, or the other keys are in another map.

import { SIDE } from "./tiles.js";

const WHOLE = 2 ** 20; // weights that are asked for at once
const ADDED = 2 ** 22; // that the server adds up at once
const COLUMNS = 2 ** 22; // of the columns that are taken out, all together

// "special,first" -> Set of the keys that are meant
export function takenOut(scene, map, without) {
  const kinds = new Set(without.split(","));
  const keys = new Set(kinds.has("special") ? scene.axes[map.keys].special : []);
  if (kinds.has("first")) keys.add(0);
  return keys;
}

// "special,first" -> "the first key and special tokens"
export function takenOutWords(without) {
  const kinds = without.split(",");
  return [kinds.includes("first") && "the first key", kinds.includes("special") && "special tokens"].filter(Boolean).join(" and ");
}

// What the weights of queries a to b (behind the last) add up to -> array (b - a)
export async function sumsOf(source, scene, number, head, [a, b]) {
  const keys = scene.maps[number].shape[1];
  // A server adds them up; a saved page has the weights at hand.
  const server = source.can?.open;
  const step = Math.max(1, Math.floor((server ? ADDED : WHOLE) / Math.max(1, keys)));
  const sums = new Float64Array(b - a);
  for (let from = a; from < b; from += step) {
    const rows = [from, Math.min(b, from + step)];
    const told = server && (await source.top(scene, number, head, rows, 1)).sums;
    if (told) sums.set(told, from - a);
    else {
      const { weights } = await source.weights(scene, number, head, rows, [0, keys]);
      weights.forEach((weight, i) => (sums[from - a + Math.floor(i / keys)] += weight));
    }
  }
  return sums;
}

export class Without {
  #left = new Map(); // "a:b" -> promise

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
      const { levels } = await this.#all();
      return cut(levels[level], row, column);
    }
    if (level) return nothing(Math.ceil(this.queries / 2 ** level), Math.ceil(this.keys / 2 ** level), row, column);
    const span = [row * SIDE, Math.min(this.queries, (row + 1) * SIDE)];
    const [tile, left] = await Promise.all([this.source.tile(this.scene, this.number, this.head, 0, row, column), this.left(span)]);
    const mean = this.#renormalised(tile.mean, ...tile.mean.shape, column * SIDE, left);
    mean.shape = tile.mean.shape;
    return { mean, maximum: mean, sampled: false };
  }

  // How much of the attention of queries a to b (behind the last) is left, Float64Array (b - a); 0 where nothing is.
  left([a, b]) {
    const name = `${a}:${b}`;
    if (!this.#left.has(name)) {
      const promise = this.#leave([a, b]);
      this.#left.set(name, promise);
      promise.catch(() => this.#left.delete(name));
    }
    return this.#left.get(name);
  }

  async #leave(rows) {
    if (this.whole) return (await this.#all()).left.subarray(...rows);
    const [sums, lost] = await Promise.all([sumsOf(this.source, this.scene, this.number, this.head, rows), this.#lost(rows)]);
    // What is less than the rounding of both is nothing.
    return sums.map((sum, i) => (sum - lost[i] > 1e-5 * sum ? sum - lost[i] : 0));
  }

  async #lost([a, b]) {
    const lost = new Float64Array(b - a);
    for (const [first, behind] of runs(this.out)) {
      const rows = Math.max(1, Math.floor(WHOLE / (behind - first)));
      for (let from = a; from < b; from += rows) {
        const to = Math.min(b, from + rows);
        const { weights } = await this.source.weights(this.scene, this.number, this.head, [from, to], [first, behind]);
        weights.forEach((weight, i) => (lost[from - a + Math.floor(i / (behind - first))] += weight));
      }
    }
    return lost;
  }

  // weights (rows, columns) of columns from firstColumn on; left (rows) -> renormalised; NaN where they are taken out, and
  // in rows of which nothing is left.
  #renormalised(weights, rows, columns, firstColumn, left) {
    const found = new Float32Array(weights.length);
    for (let row = 0; row < rows; row++) {
      for (let column = 0; column < columns; column++) {
        const at = row * columns + column;
        const gone = this.out.has(firstColumn + column) || !left[row];
        found[at] = gone ? NaN : weights[at] / left[row];
      }
    }
    return found;
  }

  renormalised(weights, rows, [c, d]) {
    return this.left(rows).then((left) => this.#renormalised(weights, rows[1] - rows[0], d - c, c, left));
  }

  #all() {
    this.all ??= this.#whole().catch((error) => {
      this.all = null;
      throw error;
    });
    return this.all;
  }

  async #whole() {
    const { queries, keys } = this;
    const { weights } = await this.source.weights(this.scene, this.number, this.head, [0, queries], [0, keys]);
    const left = new Float64Array(queries);
    weights.forEach((weight, i) => (left[Math.floor(i / keys)] += this.out.has(i % keys) ? 0 : weight));
    const mean = this.#renormalised(weights, queries, keys, 0, left);
    let level = { mean, maximum: mean, rows: queries, columns: keys };
    const levels = [level];
    while (Math.max(level.rows, level.columns) > SIDE) levels.push((level = coarser(level)));
    return { levels, left };
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
