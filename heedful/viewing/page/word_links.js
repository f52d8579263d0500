// Word alignments: read off weights, read as Pharaoh wrote them, and compared with those that people made.
//
// The same as heedful/tasks/alignment.py and heedful/evaluation/alignment_error.py, where the papers are named.
// A link is "source-target", words counted from 0.

import { joined } from "./tokens.js";

// "0-0 1-2 3p4" -> {sure: Set, possible: Set (the sure ones among them), wrong: [what is no link]}
export function readGold(text, first = 0) {
  const sure = new Set();
  const possible = new Set();
  const wrong = [];
  for (const word of text.split(/\s+/).filter(Boolean)) {
    const match = /^(\d{1,6})([-p])(\d{1,6})$/.exec(word);
    const source = match ? Number(match[1]) - first : -1;
    const target = match ? Number(match[3]) - first : -1;
    if (source < 0 || target < 0) {
      wrong.push(word);
      continue;
    }
    possible.add(`${source}-${target}`);
    if (match[2] === "-") sure.add(`${source}-${target}`);
  }
  return { sure, possible, wrong };
}

// The words of an axis of the manifest, in order: [{word, text, tokens}]; tokens outside every word are left out.
export function wordsOf(axis) {
  const found = [];
  axis.word.forEach((word, token) => {
    if (word === null || word === undefined) return;
    const last = found.at(-1);
    if (last?.word === word) last.tokens.push(token);
    else found.push({ word, tokens: [token] });
  });
  return found.map((each) => ({ ...each, text: joined(each.tokens.map((token) => axis.text[token])) }));
}

// Which row of the weights tells of a target token: the one that predicts it (plain), or the next, which reads it (shift;
// Chen et al. 2020).
export function rowOf(token, method) {
  return method === "shift" ? token + 1 : token;
}

// Links of words: each target token goes with the source token, of those in words, that it attends to most.
// weights: (rows, columns) in one array; sources, targets: of wordsOf, counted in order.
export function linksOf(weights, [rows, columns], sources, targets, method = "plain") {
  const links = new Set();
  const places = sources.flatMap(({ tokens }, word) => tokens.map((token) => [token, word])).sort((a, b) => a[0] - b[0]);
  targets.forEach(({ tokens }, target) => {
    for (const token of tokens) {
      const row = rowOf(token, method);
      if (row >= rows) continue;
      let most = 0;
      let best = -1;
      for (const [place, word] of places) {
        const weight = weights[row * columns + place];
        if (weight > most) {
          most = weight;
          best = word;
        }
      }
      if (best >= 0) links.add(`${best}-${target}`);
    }
  });
  return links;
}

// The weights between words (targets, sources): of a word's keys their sum, of its queries their mean.
export function betweenWords(weights, [rows, columns], sources, targets, method = "plain") {
  const found = new Float32Array(targets.length * sources.length);
  targets.forEach(({ tokens }, target) => {
    const known = tokens.map((token) => rowOf(token, method)).filter((row) => row < rows);
    sources.forEach((source, at) => {
      let sum = 0;
      for (const row of known) for (const token of source.tokens) sum += weights[row * columns + token];
      found[target * sources.length + at] = known.length ? sum / known.length : 0;
    });
  });
  return found;
}

// AER, precision and recall of links against gold (Och and Ney 2003, section 6).
export function errorOf(links, { sure, possible }) {
  const among = (of) => [...links].filter((link) => of.has(link)).length;
  const [inSure, isPossible] = [among(sure), among(possible)];
  const total = links.size + sure.size;
  return {
    rate: total ? 1 - (inSure + isPossible) / total : 0,
    precision: links.size ? isPossible / links.size : 1,
    recall: sure.size ? inSure / sure.size : 1,
  };
}

// How far two alignments agree, 0 to 1: twice the links in both by the links of either.
export function agreementOf(one, other) {
  const both = [...one].filter((link) => other.has(link)).length;
  return one.size + other.size ? (2 * both) / (one.size + other.size) : 1;
}
