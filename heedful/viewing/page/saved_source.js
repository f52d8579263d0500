// Where numbers come from in a saved page: the same methods as ServerSource, out of what the file carries.
//
// heedful/viewing/saved.py writes answers by their addresses into elements of the page; weights are made anew
// (saved_weights.js), and pictures, tracks and largest weights of them. What a browser would be long about is made in
// parts, so that the page can still be moved meanwhile, or of some of the queries, and then says so.

import { unpack } from "./packed.js";
import { SavedWeights, cells } from "./saved_weights.js";

const SIDE = 256;
const AT_ONCE = 2 ** 24; // multiplications between two looks at what else is to be done
const MOST = 2 ** 31; // for one tile: some seconds

export class SavedSource {
  can = { open: false, growth: false, arithmetic: false, attribution: false, rollout: false, forced: false };

  #elements = new Map();
  #kept = new Map();

  constructor(document) {
    for (const element of document.querySelectorAll("script[data-path]")) {
      this.#elements.set(element.dataset.path, element);
    }
  }

  models() {
    return this.#once("begin", async () => {
      Object.assign(this.can, await this.#json("can"));
      const told = await this.#json("models");
      this.scenes = await Promise.all(
        [...this.#elements.keys()].filter((path) => /^scenes\/\w+$/.test(path)).map((path) => this.#json(path)),
      );
      return told;
    });
  }

  // The scene of these texts, or of this model; else the first one.
  async open({ model, texts }) {
    await this.models();
    const given = (all) => JSON.stringify(Object.entries(all).filter(([, text]) => text).sort());
    const own = this.scenes.filter((scene) => scene.model === model);
    return own.find((scene) => given(scene.texts) === given(texts ?? {})) ?? own[0] ?? this.scenes[0];
  }

  statistics(scene) {
    return this.#packed(`scenes/${scene.id}/statistics`);
  }

  thumbnails(scene, size = 48) {
    const path = `scenes/${scene.id}/thumbnails`;
    if (this.#elements.has(path)) return this.#packed(path);
    return this.#once(`${path} ${size}`, async () => {
      const found = { cells: [], sampled: false };
      for (const [number, { heads, shape }] of scene.maps.entries()) {
        const weights = await this.#weights(scene, number);
        const [high, wide] = shape.map((length) => cellSize(length, size));
        found.cells.push([high, wide]);
        const pictures = [];
        for (let head = 0; head < heads; head++) {
          await breath();
          pictures.push(cells(weights.part(head, 0, shape[0], 0, shape[1]), ...shape, high, wide));
        }
        for (const name of ["mean", "maximum"]) found[name + number] = stacked(pictures.map((one) => one[name]));
      }
      return found;
    });
  }

  tile(scene, map, head, level, row, column) {
    return this.#once(`tile ${scene.id} ${map} ${head} ${level} ${row} ${column}`, async () => {
      const weights = await this.#weights(scene, map);
      const side = SIDE * 2 ** level;
      const [queries, keys] = scene.maps[map].shape;
      const rows = [row * side, Math.min(queries, (row + 1) * side)];
      const columns = [column * side, Math.min(keys, (column + 1) * side)];
      if (rows[0] >= rows[1] || columns[0] >= columns[1]) throw new Error("There is no such tile.");
      if (level === 0) return { mean: weights.part(head, ...rows, ...columns), sampled: false };
      const price = (columns[1] - columns[0]) * weights.price * (head === "mean" ? weights.heads : 1);
      if ((rows[1] - rows[0]) * price > MOST) {
        const picture = await this.#picture(scene, map, head);
        if (picture && level >= picture.level) return cut(picture, level, row, column);
        return this.#tile(weights, head, rows, columns, 2 ** level, price * 2 ** -level, true);
      }
      return this.#tile(weights, head, rows, columns, 2 ** level, price, false);
    });
  }

  // sampled: one query stands for each row of cells.
  async #tile(weights, head, [a, b], [c, d], cell, price, sampled) {
    const strips = [];
    const high = Math.max(1, Math.floor(AT_ONCE / (price * cell))) * cell;
    for (let from = a; from < b; from += high) {
      await breath();
      const to = Math.min(b, from + high);
      if (!sampled) {
        strips.push(cells(weights.part(head, from, to, c, d), to - from, d - c, cell, cell));
        continue;
      }
      for (let first = from; first < to; first += cell) {
        const query = Math.min(b - 1, first + Math.floor(Math.random() * cell));
        strips.push(cells(weights.part(head, query, query + 1, c, d), 1, d - c, 1, cell));
      }
    }
    return { mean: below(strips.map((one) => one.mean)), maximum: below(strips.map((one) => one.maximum)), sampled };
  }

  tracks(scene, map, head) {
    const path = `scenes/${scene.id}/maps/${map}/heads/${head}/tracks`;
    if (this.#elements.has(path)) return this.#packed(path);
    return this.#once(path, async () => {
      const weights = await this.#weights(scene, map);
      const [queries, keys] = scene.maps[map].shape;
      const price = keys * weights.price * (head === "mean" ? weights.heads : 1);
      const found = {
        entropy: new Float32Array(queries),
        largest: new Float32Array(queries),
        position: new Float32Array(queries),
        received: new Float32Array(keys),
        received_by_field: new Float32Array(keys),
        sampled: false,
      };
      const seen = weights.seenBy(head);
      for (let from = 0, step = Math.max(1, Math.floor(AT_ONCE / price)); from < queries; from += step) {
        await breath();
        const to = Math.min(queries, from + step);
        track(found, weights.part(head, from, to, 0, keys), from, to, keys, weights.told.places);
      }
      found.received.forEach((mass, key) => (found.received_by_field[key] = mass / Math.max(1, seen[key])));
      for (const array of Object.values(found)) if (array.length) array.shape = [array.length];
      return found;
    });
  }

  async weights(scene, map, head, [a, b], [c, d]) {
    const weights = await this.#weights(scene, map);
    const [queries, keys] = scene.maps[map].shape;
    const [from, to, first, behind] = [Math.min(a, queries), Math.min(b, queries), Math.min(c, keys), Math.min(d, keys)];
    return { weights: weights.part(head, from, Math.max(from, to), first, Math.max(first, behind)) };
  }

  top(scene, map, head, [a, b], k = 8) {
    return this.#once(`top ${scene.id} ${map} ${head} ${a} ${b} ${k}`, async () => {
      const weights = await this.#weights(scene, map);
      const [queries, keys] = scene.maps[map].shape;
      const [from, to, most] = [Math.min(a, queries), Math.min(b, queries), Math.min(k, keys)];
      const found = { weights: new Float32Array((to - from) * most), keys: new Int32Array((to - from) * most).fill(-1) };
      found.weights.shape = found.keys.shape = [to - from, most];
      for (let query = from; query < to; query++) {
        if ((query - from) % 64 === 0) await breath();
        const row = weights.part(head, query, query + 1, 0, keys);
        const order = Array.from(row.keys()).sort((one, other) => row[other] - row[one] || one - other);
        for (let place = 0; place < most && row[order[place]] > 0; place++) {
          found.weights[(query - from) * most + place] = row[order[place]];
          found.keys[(query - from) * most + place] = order[place];
        }
      }
      return found;
    });
  }

  arithmetic(scene, map, head, query) {
    return this.#packed(`scenes/${scene.id}/maps/${map}/heads/${head}/arithmetic?query=${query}`);
  }

  async rollout(scene, output) {
    const all = await this.#packed(`scenes/${scene.id}/rollout`);
    return Object.fromEntries(
      Object.entries(all)
        .filter(([, of]) => of.shape)
        .map(([name, of]) => {
          const row = of.slice(output * of.shape[1], (output + 1) * of.shape[1]);
          row.shape = [row.length];
          return [name, row];
        }),
    );
  }

  received(scene) {
    return this.#packed(`scenes/${scene.id}/received`);
  }

  attribution(scene, output, method) {
    const what = method === "integrated" ? "integrated gradients of this output" : "gradients of this output";
    return this.#packed(`scenes/${scene.id}/attribution?output=${output}&method=${method}`, what);
  }

  growth(scene, beam) {
    return this.#json(`scenes/${scene.id}/growth?beam=${beam}`, `the search with a beam of ${beam}`);
  }

  forced(scene) {
    return this.#json(`scenes/${scene.id}/forced`, "the probability of each token");
  }

  compares(left, right) {
    return this.#elements.has(pair(left, right)) || this.#elements.has(pair(right, left));
  }

  compare(left, right) {
    const path = pair(left, right);
    if (this.#elements.has(path) || !this.compares(left, right)) return this.#packed(path, "this comparison");
    return this.#once(path, async () => exchanged(await this.#packed(pair(right, left))));
  }

  #weights(scene, map) {
    return this.#once(`weights ${scene.id} ${map}`, async () =>
      new SavedWeights(unpack(await this.#bytes(`scenes/${scene.id}/maps/${map}`))),
    );
  }

  // The whole of a head in small, where it was kept; of the mean of all heads only the mean.
  #picture(scene, map, head) {
    const at = (number) => `scenes/${scene.id}/maps/${map}/heads/${number}/picture`;
    return this.#once(at(head), async () => {
      if (!this.#elements.has(at(head === "mean" ? 0 : head))) return null;
      const numbers = head === "mean" ? Array.from({ length: scene.maps[map].heads }, (_, number) => number) : [head];
      const pictures = await Promise.all(numbers.map(async (number) => unpack(await this.#bytes(at(number)))));
      const [{ level, scale, mean, maximum }] = pictures;
      const share = 1 / (scale * pictures.length);
      const together = mean.map((_, place) => pictures.reduce((sum, one) => sum + one.mean[place], 0) * share);
      together.shape = mean.shape;
      return { level, mean: together, maximum: head === "mean" ? together : maximum, of: scene.maps[map].shape };
    });
  }

  #packed(path, what) {
    return this.#once(path, async () => unpack(await this.#bytes(path, what)));
  }

  #json(path, what) {
    return this.#once(path, async () => JSON.parse(new TextDecoder().decode(await this.#bytes(path, what))));
  }

  async #bytes(path, what = "this") {
    const element = this.#elements.get(path);
    if (!element) throw new Error(`This saved page does not carry ${what}; \`heedful view\` shows it.`);
    const bytes = await inflate(decode(element.textContent));
    return "halves" in element.dataset ? joined(new Uint8Array(bytes)).buffer : bytes;
  }

  // What is asked for twice is made once.
  #once(name, make) {
    if (!this.#kept.has(name)) {
      const promise = make();
      this.#kept.set(name, promise);
      promise.catch(() => this.#kept.delete(name));
    }
    return this.#kept.get(name);
  }
}

// The address of a comparison.
function pair(left, right) {
  const side = ({ scene, map, head }) => `${scene.id}.${map}.${head}`;
  return `compare?left=${side(left)}&right=${side(right)}`;
}

// A comparison with its sides exchanged; heedful/viewing/comparison.py says what is in it.
export function exchanged(told) {
  const turned = ({ left, right, ...others }) => ({ ...others, left: right, right: left });
  const { queries, keys } = told.common;
  return {
    ...told,
    sides: turned(told.sides),
    common: { queries: turned(queries), keys: turned(keys) },
    summary: { ...told.summary, only_left: told.summary.only_right, only_right: told.summary.only_left },
    left: told.right,
    right: told.left,
    difference: alike(told.difference, (value) => -value),
    only_left: told.only_right,
    only_right: told.only_left,
    queries: alike(told.queries, (_, at) => told.queries[at ^ 1]),
    keys: alike(told.keys, (_, at) => told.keys[at ^ 1]),
  };
}

// An array of the same kind and shape.
function alike(array, make) {
  const made = array.map(make);
  made.shape = array.shape;
  return made;
}

function decode(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const bytes = atob(text);
  return Uint8Array.from({ length: bytes.length }, (_, at) => bytes.charCodeAt(at));
}

function inflate(bytes) {
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
}

// The upper bytes of all halves, then the lower ones -> halves.
function joined(bytes) {
  const count = bytes.length / 2;
  const into = new Uint8Array(bytes.length);
  for (let at = 0; at < count; at++) {
    into[2 * at + 1] = bytes[at];
    into[2 * at] = bytes[count + at];
  }
  return into;
}

// Lets the page answer its reader before the work goes on.
function breath() {
  return globalThis.scheduler?.yield?.() ?? new Promise((go) => setTimeout(go));
}

// The smallest power of two by which a length has at most so many cells.
function cellSize(length, size) {
  let cell = 1;
  while (length > cell * size) cell *= 2;
  return cell;
}

function stacked(pictures) {
  const into = new Float32Array(pictures.length * pictures[0].length);
  pictures.forEach((one, number) => into.set(one, number * one.length));
  into.shape = [pictures.length, ...pictures[0].shape];
  return into;
}

// Pictures of the same width, one below the other.
function below(pictures) {
  const width = pictures[0].shape[1];
  const into = new Float32Array(pictures.reduce((sum, one) => sum + one.length, 0));
  let at = 0;
  for (const one of pictures) {
    into.set(one, at);
    at += one.length;
  }
  into.shape = [into.length / width, width];
  return into;
}

// A tile of a picture that is kept, at its level or a coarser one.
function cut(picture, level, row, column) {
  const step = 2 ** (level - picture.level);
  const size = 2 ** picture.level;
  const [down, across] = picture.mean.shape;
  const [top, left] = [row * SIDE * step, column * SIDE * step];
  const [bottom, right] = [Math.min(down, top + SIDE * step), Math.min(across, left + SIDE * step)];
  const rows = Math.ceil((bottom - top) / step);
  const columns = Math.ceil((right - left) / step);
  const mean = new Float32Array(rows * columns);
  const maximum = new Float32Array(rows * columns);
  const weight = new Float32Array(rows * columns);
  const side = (cell, count) => Math.min(size, count - cell * size);
  for (let i = top; i < bottom; i++) {
    for (let j = left; j < right; j++) {
      const at = Math.floor((i - top) / step) * columns + Math.floor((j - left) / step);
      const from = i * across + j;
      const share = side(i, picture.of[0]) * side(j, picture.of[1]);
      mean[at] += share * picture.mean[from];
      weight[at] += share;
      maximum[at] = Math.max(maximum[at], picture.maximum[from]);
    }
  }
  mean.forEach((total, at) => (mean[at] = total / weight[at]));
  mean.shape = maximum.shape = [rows, columns];
  return { mean, maximum, sampled: false };
}

// Adds what some rows tell to the tracks; a row is taken as shares of its sum.
function track(found, weights, from, to, keys, places) {
  for (let query = from, at = 0; query < to; query++) {
    let [total, logs, position, largest] = [0, 0, 0, 0];
    for (let key = 0; key < keys; key++, at++) {
      const weight = weights[at];
      if (!weight) continue;
      total += weight;
      logs += weight * Math.log(weight);
      position += weight * (places ? places[key] : key);
      if (weight > largest) largest = weight;
      found.received[key] += weight;
    }
    if (!total) continue;
    found.entropy[query] = Math.log(total) - logs / total;
    found.largest[query] = largest;
    found.position[query] = position / total;
  }
}
