// Weights out of a saved page: heedful/viewing/saved_weights.py writes them and says how.
//
//   const weights = new SavedWeights(unpack(buffer));     // packed.js
//   weights.part(2, 0, 8, 0, 512)        Float32Array of head 2 ("mean": of all), queries 0 ... 7, keys 0 ... 511

export class SavedWeights {
  constructor(told) {
    this.told = told;
    if (told.kind === "products") {
      [this.heads, this.queries, this.width] = told.query.shape;
      [this.groups, this.keys] = told.key.shape;
    } else {
      [this.heads, this.queries, this.keys] = told.weights.shape;
    }
  }

  // Multiplications that one weight takes: what is asked for at once is chosen by it.
  get price() {
    return (this.width ?? 1) + 8;
  }

  part(head, a, b, c, d) {
    const into = new Float32Array((b - a) * (d - c));
    const heads = head === "mean" ? Array.from({ length: this.heads }, (_, number) => number) : [head];
    for (const number of heads) this.#add(into, number, a, b, c, d, 1 / heads.length);
    into.shape = [b - a, d - c];
    return into;
  }

  // How many queries may see each key, with one head or any.
  seenBy(head) {
    const { spans, seen } = this.told;
    const count = new Float64Array(this.keys);
    const masks = (spans ?? seen).shape[0];
    const heads = head !== "mean" ? [head] : Array.from({ length: masks }, (_, number) => number);
    for (let query = 0; query < this.queries; query++) {
      for (let key = 0; key < this.keys; key++) {
        if (heads.some((one) => this.#sees(one, query, key))) count[key]++;
      }
    }
    return count;
  }

  #add(into, head, a, b, c, d, share) {
    if (this.told.kind === "products") this.#products(into, head, a, b, c, d, share);
    else this.#kept(into, head, a, b, c, d, share);
  }

  #products(into, head, a, b, c, d, share) {
    const { width, told } = this;
    const query = one(told.query, head);
    const key = one(told.key, Math.floor((head * this.groups) / this.heads));
    const wide = d - c;
    for (let i = a; i < b; i++) {
      const lse = told.lse[head * this.queries + i];
      if (lse === -Infinity) continue;
      const [first, behind] = this.#span(head, i);
      const q = i * width;
      const row = (i - a) * wide - c;
      for (let j = Math.max(c, first), stop = Math.min(d, behind); j < stop; j++) {
        if (told.seen && !this.#sees(head, i, j)) continue;
        const k = j * width;
        let score = 0;
        for (let n = 0; n < width; n++) score += query[q + n] * key[k + n];
        into[row + j] += share * Math.exp(score - lse);
      }
    }
  }

  #kept(into, head, a, b, c, d, share) {
    const { told, keys } = this;
    const weights = one(told.weights, head);
    const table =
      told.kind === "levels" && (this.table ??= Float32Array.from({ length: 256 }, (_, code) => level(code, told.depth)));
    let at = 0;
    for (let i = a; i < b; i++) {
      for (let j = c; j < d; j++, at++) {
        const kept = weights[i * keys + j];
        into[at] += share * (table ? table[kept] : kept);
      }
    }
  }

  #span(head, query) {
    const { spans } = this.told;
    if (!spans) return [0, this.keys];
    const at = ((spans.shape[0] > 1 ? head : 0) * this.queries + query) * 2;
    return [spans[at], spans[at + 1]];
  }

  #sees(head, query, key) {
    const { seen } = this.told;
    if (!seen) {
      const [first, behind] = this.#span(head, query);
      return key >= first && key < behind;
    }
    const at = ((seen.shape[0] > 1 ? head : 0) * this.queries + query) * seen.shape[2] + (key >> 3);
    return (seen[at] >> (key & 7)) & 1;
  }
}

// What is of one head in an array (heads, ..., ...).
function one(array, head) {
  const size = array.shape[1] * array.shape[2];
  return array.subarray(head * size, (head + 1) * size);
}

function level(code, depth) {
  return code ? 2 ** ((code - 255) * (depth / 254)) : 0;
}

// Sum and maximum of cells of `high` x `wide` of weights (rows, columns); the last ones may be smaller.
export function cells(weights, rows, columns, high, wide) {
  const [down, across] = [Math.ceil(rows / high), Math.ceil(columns / wide)];
  const mean = new Float32Array(down * across);
  const maximum = new Float32Array(down * across);
  for (let i = 0; i < rows; i++) {
    const row = Math.floor(i / high) * across;
    for (let j = 0; j < columns; j++) {
      const weight = weights[i * columns + j];
      const at = row + Math.floor(j / wide);
      mean[at] += weight;
      if (weight > maximum[at]) maximum[at] = weight;
    }
  }
  for (let row = 0, at = 0; row < down; row++) {
    const height = Math.min(high, rows - row * high);
    for (let column = 0; column < across; column++, at++) mean[at] /= height * Math.min(wide, columns - column * wide);
  }
  mean.shape = maximum.shape = [down, across];
  return { mean, maximum };
}
