// Which links there are to draw: of each query the fewest keys that have the mass p, for tokens or for words.

import { takenOut, Without } from "./without.js";
import { words } from "./tokens.js";

// Weights that are asked for whole; of longer rows only so many of the largest.
const WHOLE = 2 ** 18;
const LARGEST = 64;

// Units of an axis: tokens, or words that are made of several. [{text, special, tokens: [numbers]}]
export function units(axis, asWords) {
  const special = new Set(axis.special);
  if (!asWords) return axis.text.map((text, number) => ({ text, special: special.has(number), tokens: [number] }));
  return words(axis).map((word) => ({ ...word, special: word.tokens.every((number) => special.has(number)) }));
}

// Rows of a head: for queries a to b (behind the last), each a Map from key to weight. Renormalised if keys are taken out.
export async function rowsOf(source, scene, number, head, [a, b], without) {
  const map = scene.maps[number];
  const keys = map.shape[1];
  const rows = Array.from({ length: b - a }, () => new Map());
  if ((b - a) * keys <= WHOLE) {
    const { weights } = await source.weights(scene, number, head, [a, b], [0, keys]);
    weights.forEach((weight, i) => weight > 0 && rows[Math.floor(i / keys)].set(i % keys, weight));
  } else {
    const found = await source.top(scene, number, head, [a, b], LARGEST);
    const most = found.keys.shape[1];
    found.keys.forEach((key, i) => key >= 0 && rows[Math.floor(i / most)].set(key, found.weights[i]));
  }
  const out = takenOut(scene, map, without);
  if (!out.size) return rows;
  const lost = await new Without(source, scene, number, head, out).lost();
  return rows.map((row, i) => {
    const left = 1 - lost[a + i];
    return new Map(left < 1e-6 ? [] : [...row].filter(([key]) => !out.has(key)).map(([key, weight]) => [key, weight / left]));
  });
}

// Rows of tokens -> rows of units: what a unit pays is the mean of what its tokens pay, what it gets their sum.
export function rowsOfUnits(rows, first, queries, keys) {
  const unitOf = new Map(keys.flatMap(({ tokens }, unit) => tokens.map((token) => [token, unit])));
  return queries.map(({ tokens }) => {
    const found = new Map();
    for (const token of tokens) {
      for (const [key, weight] of rows[token - first] ?? []) {
        const unit = unitOf.get(key);
        if (unit !== undefined) found.set(unit, (found.get(unit) ?? 0) + weight / tokens.length);
      }
    }
    return found;
  });
}

// The fewest links of a row that have the mass p of it: [[key, weight], ...], the largest first.
export function strongest(row, p) {
  const sorted = [...row].sort(([, one], [, other]) => other - one);
  const whole = sorted.reduce((sum, [, weight]) => sum + weight, 0);
  let mass = 0;
  const found = [];
  for (const link of sorted) {
    if (found.length && mass >= p * whole - 1e-9) break;
    found.push(link);
    mass += link[1];
  }
  return found;
}
