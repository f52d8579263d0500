// What is told of heads: names for people, what each number means, and which heads stand out.

import { weightText } from "./tokens.js";

// share: between 0 and 1, told in percent. In the order in which they are offered.
const KNOWN = {
  entropy: { title: "Entropy" },
  maximum: { title: "Largest weight", share: true },
  distance: { title: "Distance" },
  spread: { title: "Spread" },
  first: { title: "On the first", share: true },
  special: { title: "On special tokens", share: true },
  previous: { title: "On the one before", share: true },
  itself: { title: "On itself", share: true },
  next: { title: "On the one after", share: true },
  received: { title: "On one key", share: true },
  alignment: { title: "Agreement", share: true },
};

export function about(name) {
  const words = name.replaceAll("_", " ");
  return KNOWN[name] ?? { title: words.charAt(0).toUpperCase() + words.slice(1) };
}

// What a statistic is, in the server's words (head_statistics.py).
export function sentence(packed, name) {
  return `${about(name).title}. ${packed.explained?.[name] ?? ""} The mean over all queries.`;
}

export function told(name, value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (about(name).share) return `${(value * 100).toFixed(value < 0.0995 ? 1 : 0)} %`;
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value >= 0.095 || value === 0 ? value.toFixed(2) : weightText(value);
}

// packed statistics, scene -> [{number, head, values: {name: number}}], a head each, in the scene's order.
export function heads(scene, packed) {
  return scene.maps.flatMap((map, number) => {
    const numbers = packed?.[`map${number}`];
    return Array.from({ length: map.heads }, (_, head) => ({
      number,
      map,
      head,
      values: Object.fromEntries((packed?.names ?? []).map((name, i) => [name, numbers[i * map.heads + head]])),
    }));
  });
}

// Statistics of which some head has a number: an alignment is not always there.
export function offered(list, names) {
  const order = Object.keys(KNOWN);
  const place = (name) => (order.includes(name) ? order.indexOf(name) : order.length);
  return names.filter((name) => list.some(({ values }) => Number.isFinite(values[name]))).sort((a, b) => place(a) - place(b));
}

const self = ({ map }) => map.queries === map.keys;
const both = (one) => self(one) && !one.map.causal;
// Of two keys, or one, any head decides sharply.
const many = ({ map }) => map.shape[1] > 2;

// What can be said of a head that has most (or least) of something. From how much on it is worth saying.
const STANDING_OUT = [
  { by: "alignment", from: 0.3, words: "agrees most with the model’s own alignment" },
  { by: "previous", from: 0.3, words: "looks at the token before", among: self },
  { by: "next", from: 0.3, words: "looks at the token after", among: both },
  { by: "itself", from: 0.3, words: "looks at itself", among: self },
  { by: "maximum", from: 0.5, words: "decides most sharply", among: many },
  { by: "first", from: 0.3, words: "rests on the first token", among: many },
  { by: "special", from: 0.4, words: "rests on special tokens", among: many },
  { by: "entropy", from: 1, words: "spreads widest", among: many },
  { by: "distance", from: 3, words: "looks farthest", among: self },
];

// -> [{number, map, head, by, value, words}]: each head once, at most `most`.
export function standOuts(list, most = 6) {
  const found = [];
  for (const { by, from, words, among = () => true } of STANDING_OUT) {
    const candidates = list.filter((one) => among(one) && one.values[by] >= from);
    candidates.sort((a, b) => b.values[by] - a.values[by]);
    const free = candidates.find((one) => !found.some((other) => other.number === one.number && other.head === one.head));
    // The best but one is named only if it is nearly as good.
    if (!free || free.values[by] < 0.85 * candidates[0].values[by]) continue;
    found.push({ ...free, by, value: free.values[by], words });
    if (found.length === most) break;
  }
  return found;
}
