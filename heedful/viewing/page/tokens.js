// How tokens are shown: white space can be seen, nothing in a token can act, and words can be put together again.

const segmenter = globalThis.Intl?.Segmenter ? new Intl.Segmenter() : null;

// What would be invisible or would turn the text around it: controls, and marks that switch the direction of writing.
const UNSEEN =
  /[\u0000-\u001f\u007f-\u00a0\u00ad\u061c\u200b\u200e\u200f\u2028-\u202f\u2060-\u2069\u3000\ufeff]/gu;
// What is invisible alone, and within a word says how its neighbours are drawn: "👩‍👩‍👧" has two of them.
const JOINERS = /^[\u200c\u200d\ufe00-\ufe0f\u{e0020}-\u{e007f}]+$/u;
// Bytes that are no whole character each, as letters.py names them; where tokens stand together they may be one.
const BYTES = /(?:<0x[89A-F][0-9A-F]>)+/g;

// " the" -> "␣the", "\n" -> "⏎", "" -> "∅"; spaces between words stay as they are.
export function shown(text) {
  if (text === "") return "∅";
  if (JOINERS.test(text)) return Array.from(text, number).join("");
  return text
    .replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length))
    .replace(/\r?\n|\r/g, "⏎")
    .replace(/\t/g, "⇥")
    .replace(UNSEEN, number);
}

function number(mark) {
  return "U+" + mark.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
}

// The text of tokens that follow each other: "<0xE7><0x8C>", "<0xAB>" -> "猫"; bytes that make no character stay.
export function joined(texts) {
  return texts.join("").replace(BYTES, (run) => {
    const bytes = Uint8Array.from(run.match(/[0-9A-F]{2}(?=>)/g), (byte) => parseInt(byte, 16));
    let text = "";
    for (let first = 0, size; first < bytes.length; first += size) {
      size = [2, 3, 4].find((size) => decoded(bytes, first, size) !== null) ?? 1;
      text += decoded(bytes, first, size) ?? run.slice(first * 6, first * 6 + 6);
    }
    return text;
  });
}

// The character that so many bytes are; null where they are none.
function decoded(bytes, first, size) {
  if (first + size > bytes.length) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes.subarray(first, first + size));
  } catch {
    return null;
  }
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
    } else found.push({ word, tokens: [number] });
  });
  return found.map((each) => ({ ...each, text: joined(each.tokens.map((number) => axis.text[number])) }));
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
