// Which links there are to draw: of each query the fewest keys that have the mass p, for tokens or for words.

import { sumsOf, takenOut, Without } from "./without.js";
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

// What a query looks at: a Map from key to weight, of its largest weights where there are many.
// sum: what all its weights add up to, those that are not in it too
export class Row extends Map {
  constructor(links = [], sum = 0) {
    super(links);
    this.sum = sum;
  }
}

// Rows of a head: for queries a to b (behind the last), each a Row. Renormalised if keys are taken out.
export async function rowsOf(source, scene, number, head, [a, b], without) {
  const map = scene.maps[number];
  const out = takenOut(scene, map, without);
  const whole = (b - a) * map.shape[1] <= WHOLE;
  const rows = await (whole ? wholeRows : largest)(source, scene, number, head, [a, b]);
  if (!out.size) return rows;
  const kept = rows.map((row) => [...row].filter(([key]) => !out.has(key)));
  const left = whole ? kept.map(total) : await new Without(source, scene, number, head, out).left([a, b]);
  return kept.map((row, i) => (left[i] ? new Row(row.map(([key, weight]) => [key, weight / left[i]]), 1) : new Row()));
}

async function wholeRows(source, scene, number, head, [a, b]) {
  const keys = scene.maps[number].shape[1];
  const rows = Array.from({ length: b - a }, () => new Row());
  const { weights } = await source.weights(scene, number, head, [a, b], [0, keys]);
  weights.forEach((weight, i) => weight > 0 && rows[Math.floor(i / keys)].set(i % keys, weight));
  for (const row of rows) row.sum = total([...row]);
  return rows;
}

async function largest(source, scene, number, head, [a, b]) {
  const found = await source.top(scene, number, head, [a, b], LARGEST);
  const sums = found.sums ?? (await sumsOf(source, scene, number, head, [a, b]));
  const rows = Array.from({ length: b - a }, (_, i) => new Row([], sums[i]));
  const most = found.keys.shape[1];
  found.keys.forEach((key, i) => key >= 0 && rows[Math.floor(i / most)].set(key, found.weights[i]));
  return rows;
}

function total(links) {
  return links.reduce((sum, [, weight]) => sum + weight, 0);
}

// Rows of tokens -> rows of units: what a unit pays is the mean of what its tokens pay, what it gets their sum.
export function rowsOfUnits(rows, first, queries, keys) {
  const unitOf = new Map(keys.flatMap(({ tokens }, unit) => tokens.map((token) => [token, unit])));
  return queries.map(({ tokens }) => {
    const found = new Row();
    for (const token of tokens) {
      const row = rows[token - first] ?? new Row();
      found.sum += (row.sum ?? total([...row])) / tokens.length;
      for (const [key, weight] of row) {
        const unit = unitOf.get(key);
        if (unit !== undefined) found.set(unit, (found.get(unit) ?? 0) + weight / tokens.length);
      }
    }
    return found;
  });
}

// The fewest links of a row that have the share p of its sum: [[key, weight], ...], the largest first.
// short: whether all that are known have less than that
export function strongest(row, p) {
  const sorted = [...row].sort(([, one], [, other]) => other - one);
  const sum = row.sum ?? total(sorted);
  const wanted = (p - 1e-6) * sum; // sums may be of single precision
  let mass = 0;
  const found = [];
  for (const link of sorted) {
    if (found.length && mass >= wanted) break;
    found.push(link);
    mass += link[1];
  }
  found.short = mass < wanted;
  return found;
}
