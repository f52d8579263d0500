// What each kind of score is, as a formula and in words. `kind` is that of heedful/viewing/score_steps.py.
//
// A formula is a little markup of its own: "s_j = q · k_j / √d_k"; _ lowers the word after it, ^ raises it.

const TEXTS = {
  "scaled dot": ["s_j = q · k_j / √d_k", "Number by number, the query is multiplied with the key; the sum is divided by the root of their width, so that it does not grow with it."],
  rotary: ["s_j = (R_m q) · (R_j k_j) / √d_k", "Query and key are turned by their places, then multiplied number by number: what counts is how far apart they stand."],
  dot: ["s_j = q · k_j", "Number by number, the query is multiplied with the key, and summed."],
  general: ["s_j = (q W) · k_j", "A learned matrix W turns the query into what is to be found; this is multiplied with the key, number by number."],
  cosine: ["s_j = β cos(q, k_j)", "Query and key are brought to length one: what counts is their direction alone."],
  location: ["s_j = q · W_j", "Where to look is read off the query alone: each place has a row of W, whatever the key says."],
  additive: ["s_j = v · tanh(W q + b + U k_j)", "Query and key are projected and added; tanh keeps each number within ±1, and v says how much each counts."],
  concat: ["s_j = v · tanh(W [q; k_j])", "Query and key, beside each other, go through one layer; v says how much each of its numbers counts."],
  "location-aware": ["s_j = v · tanh(W q + b + V k_j + U f_j)", "As additive attention, and the key also knows how much the query before looked at it and its neighbours (f)."],
};

// -> {formula: node, words}
export function formulaOf(kind, steps, factor) {
  const [text, words] = TEXTS[kind] ?? ["s_j = score(q, k_j)", "The score says how well the key answers the query."];
  const more = steps.filter((step) => step.name !== "scale").map((step) => `${step.says}`);
  if (factor) more.push(`after the softmax ${factor}`);
  return { formula: typeset(text), words: [words, ...more.map((one) => `Then ${one}.`)].join(" ") };
}

export function typeset(text) {
  const line = document.createElement("span");
  line.className = "formula";
  for (const [whole, mark, lowered] of text.matchAll(/([_^])([\p{L}\p{N}]+)|[^_^]+/gu)) {
    if (!mark) line.append(whole);
    else {
      const part = document.createElement(mark === "_" ? "sub" : "sup");
      part.textContent = lowered;
      line.append(part);
    }
  }
  return line;
}
