// How tokens are shown: white space can be seen, nothing in a token can act, and words can be put together again.

const segmenter = globalThis.Intl?.Segmenter ? new Intl.Segmenter() : null;

// What would be invisible or would turn the text around it: controls, and marks that switch the direction of writing.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]/gu;

// " the" -> "␣the", "\n" -> "⏎", "" -> "∅"; spaces between words stay as they are.
export function shown(text) {
  if (text === "") return "∅";
  return text
    .replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length))
    .replace(/\r?\n|\r/g, "⏎")
    .replace(/\t/g, "⇥")
    .replace(UNSEEN, (mark) => "U+" + mark.codePointAt(0).toString(16).toUpperCase().padStart(4, "0"));
}

// What people see as one sign stays whole: "👩‍👩‍👧" is never cut.
export function shorten(text, most) {
  if (text.length <= most) return text;
  const signs = segmenter ? Array.from(segmenter.segment(text), ({ segment }) => segment) : Array.from(text);
  return signs.length <= most ? text : signs.slice(0, Math.max(1, most - 1)).join("") + "…";
}

// A token as an element: isolated, so that Arabic does not turn its neighbours around.
export function tokenElement(text, { special = false, most = 60 } = {}) {
  const element = document.createElement("bdi");
  element.className = special ? "token special" : "token";
  element.textContent = shorten(shown(text), most);
  if (element.textContent !== text) element.title = text;
  return element;
}

// axis of the manifest -> [{text, tokens: [numbers]}]: tokens with the same word together, in order; tokens outside every
// word stand alone.
export function words(axis) {
  const found = [];
  axis.text.forEach((text, number) => {
    const word = axis.word[number];
    const last = found.at(-1);
    if (last && word !== null && word !== undefined && last.word === word) {
      last.tokens.push(number);
      last.text += text;
    } else found.push({ word, text, tokens: [number] });
  });
  return found;
}

// "5 Pferd"
export function numbered(axis, number) {
  return `${number} ${shorten(shown(axis.text[number] ?? ""), 40)}`;
}

// A weight with as many digits as it needs: 0.973, 0.0021, 3.1e-7.
export function weightText(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  if (Math.abs(value) >= 0.0995) return value.toFixed(3);
  if (Math.abs(value) >= 0.00095) return value.toFixed(4);
  return value.toExponential(1).replace("e-", "e−");
}

// "Encoder 2 · head 3" of a map of the manifest; counted from 1 as people count.
export function mapTitle(map, head = null) {
  const place = `${GROUPS[map.group] ?? map.group} ${map.group === "memory" ? "hop " : ""}${map.layer + 1}`;
  if (head === null || map.heads === 1) return place;
  return head === "mean" ? `${place} · mean of heads` : `${place} · head ${head + 1}`;
}

export const GROUPS = { encoder: "Encoder", cross: "Cross", decoder: "Decoder", memory: "Memory" };
