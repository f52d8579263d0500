// What is looked at, as it stands in the address after #: whoever gets the address sees the same.
//
//   store.state             {view: "map", model: "0", texts: {source: "..."}, map: "decoder.layers.3...", head: 2, ...}
//   store.set({head: 3})    changes some of it, and the address; those who subscribed are told
//
// What has its default value is not in the address. Steps from view to view, head to head and text to text can be gone
// back with the browser's button; moving about within a picture only replaces the address.

// x, y: the middle of the map, in keys and queries; zoom: how many pixels a weight is tall. null: all of it is seen.
// texts: by the names that the model asks for. other: the second scene of a comparison.
export const DEFAULTS = {
  view: "overview",
  model: null,
  texts: {},
  map: null,
  head: 0,
  query: null,
  key: null,
  scale: "linear",
  channel: "mean",
  x: null,
  y: null,
  zoom: null,
  without: "",
  words: 0,
  p: 0.9,
  statistic: "entropy",
  order: "layer",
  other: null,
  output: null,
  theme: null,
};

const NUMBERS = new Set(["query", "key", "x", "y", "zoom", "words", "p", "output"]);
const STEPS = new Set(["view", "model", "texts", "map", "head", "other"]);
// Chromium takes 2 MB, mail programs far less. A longer text is kept by the page but not by the address.
const LONGEST = 6000;

// "#view=map&t.source=A+man" -> state
export function parse(address) {
  const state = { ...DEFAULTS, texts: {} };
  const other = {};
  for (const [name, value] of new URLSearchParams(address.replace(/^#/, ""))) {
    if (name.startsWith("other.")) other[name.slice(6)] = value;
    else take(state, name, value);
  }
  if (Object.keys(other).length) {
    state.other = { model: null, texts: {}, map: null, head: 0 };
    for (const [name, value] of Object.entries(other)) take(state.other, name, value);
  }
  return state;
}

function take(state, name, value) {
  if (name.startsWith("t.")) state.texts[name.slice(2)] = value;
  else if (name === "head") state.head = value === "mean" ? "mean" : Math.max(0, Math.trunc(Number(value)) || 0);
  else if (!Object.hasOwn(state, name) || name === "texts" || name === "other") return;
  else if (!NUMBERS.has(name)) state[name] = value;
  else if (Number.isFinite(Number(value))) state[name] = Number(value);
}

// state -> "#view=map&t.source=A+man"
export function format(state) {
  const fields = new URLSearchParams();
  put(fields, "", state, DEFAULTS);
  if (state.other) put(fields, "other.", state.other, { model: null, map: null, head: 0 });
  const address = fields.toString();
  return address ? "#" + address : "";
}

function put(fields, prefix, state, defaults) {
  for (const [name, usual] of Object.entries(defaults)) {
    if (name === "texts" || name === "other") continue;
    const value = state[name];
    if (value !== usual && value !== null && value !== undefined) fields.set(prefix + name, rounded(value));
  }
  for (const [name, text] of Object.entries(state.texts ?? {})) {
    if (text && text.length <= LONGEST) fields.set(`${prefix}t.${name}`, text);
  }
}

function rounded(value) {
  return typeof value === "number" ? String(Number(value.toPrecision(7))) : value;
}

export function createStore() {
  let state = parse(location.hash);
  let shown = format(state);
  let later = 0;
  const listeners = new Set();

  const tell = () => listeners.forEach((listener) => listener(state));

  // Browsers allow about 100 changes of the address in 30 s: within a picture it follows a moment later.
  function address(step) {
    clearTimeout(later);
    const write = () => {
      const next = format(state);
      if (next === shown) return;
      shown = next;
      history[step ? "pushState" : "replaceState"](null, "", next || location.pathname + location.search);
    };
    if (step) write();
    else later = setTimeout(write, 300);
  }

  addEventListener("popstate", () => {
    clearTimeout(later);
    const before = state.texts;
    state = parse(location.hash);
    shown = format(state);
    if (!Object.keys(state.texts).length && Object.values(before).some((text) => text.length > LONGEST)) {
      state.texts = before;
    }
    tell();
  });

  return {
    get state() {
      return state;
    },
    set(patch, { step } = {}) {
      const changed = Object.keys(patch).filter((name) => !same(patch[name], state[name]));
      if (!changed.length) return;
      state = { ...state, ...patch };
      address(step ?? changed.some((name) => STEPS.has(name)));
      tell();
    },
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function same(one, other) {
  return one === other || (one && other && typeof one === "object" && JSON.stringify(one) === JSON.stringify(other));
}

// Which map and head a state means in a scene: what it names, else the first cross-attention, else the first map.
//
//   {number, map, head}     number: of the map in scene.maps, as sources want it
export function chosen(scene, state) {
  let number = scene.maps.findIndex((map) => map.name === state.map);
  if (number < 0) number = Math.max(0, scene.maps.findIndex((map) => map.group === "cross"));
  const map = scene.maps[number];
  const head = state.head === "mean" && map.heads > 1 ? "mean" : Math.min(Number(state.head) || 0, map.heads - 1);
  return { number, map, head };
}

// The head before or after, across layers: a patch of the state.
export function beside(scene, state, step) {
  const { number, map, head } = chosen(scene, state);
  const next = (head === "mean" ? (step > 0 ? -1 : map.heads) : head) + step;
  if (next >= 0 && next < map.heads) return { map: map.name, head: next };
  const other = scene.maps[(number + step + scene.maps.length) % scene.maps.length];
  return { map: other.name, head: step > 0 ? 0 : other.heads - 1 };
}
