// What is looked at, as it stands in the address after #: whoever gets the address sees the same.
//
//   store.state             {view: "map", model: "0", texts: {source: "..."}, map: "decoder.layers.3...", head: 2, ...}
//   store.set({head: 3})    changes some of it, and the address; those who subscribed are told
//
// What has its default value is not in the address. Steps from view to view, head to head and text to text can be gone
// back with the browser's button; moving about within a picture only replaces the address.

// x, y: the middle of the map, in keys and queries; zoom: how many pixels a weight is tall. null: all of it is seen.
// texts: by the names that the model asks for. other: the second scene of a comparison.
// stage: how far Arithmetic has been gone through. step, beam: which moment of which search Lines shows. layer: of Beyond.
// word: the one that Compare follows. method, gold, counted: of Alignment; from what number its links count words.
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
  stage: null,
  step: null,
  beam: 4,
  layer: null,
  word: null,
  method: "plain",
  gold: "",
  counted: 0,
  theme: null,
};

// What may stand in the address; of names that only a scene knows (maps, statistics) the views take what there is.
const VALUES = {
  scale: new Set(["linear", "log"]),
  channel: new Set(["mean", "maximum"]),
  without: new Set(["", "special", "first", "special,first"]),
  order: new Set(["layer", "highest", "lowest", "across-highest", "across-lowest"]),
  method: new Set(["plain", "shift"]),
  theme: new Set(["light", "dark"]),
};
const count = (value) => Number.isSafeInteger(value) && value >= 0;
const flag = (value) => value === 0 || value === 1;
const NUMBERS = {
  query: count,
  key: count,
  output: count,
  stage: count,
  step: count,
  layer: count,
  word: count,
  beam: (value) => count(value) && value >= 1 && value <= 8,
  words: flag,
  counted: flag,
  x: Number.isFinite,
  y: Number.isFinite,
  zoom: (value) => Number.isFinite(value) && value > 0,
  p: (value) => value >= 0.1 && value <= 1,
};
const STEPS = new Set(["view", "model", "texts", "map", "head", "other"]);
// Chromium takes 2 MB, mail programs far less. A longer text is kept by the page but not by the address.
const LONGEST = 6000;

// "#view=map&t.source=A+man" -> state
// kept: what the address is too short for, as `tooLong` told it
export function parse(address, kept = {}) {
  const state = { ...DEFAULTS, texts: {} };
  const other = {};
  for (const [name, value] of [...new URLSearchParams(address.replace(/^#/, "")), ...Object.entries(kept)]) {
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
  else if (name === "head") state.head = value === "mean" ? "mean" : wholeNumber(value);
  else if (!Object.hasOwn(state, name) || name === "texts" || name === "other") return;
  else if (Object.hasOwn(NUMBERS, name)) {
    const number = value.trim() ? Number(value) : NaN;
    if (NUMBERS[name](number)) state[name] = number;
  } else if (!Object.hasOwn(VALUES, name) || VALUES[name].has(value)) state[name] = value;
}

function wholeNumber(value) {
  const number = Math.trunc(Number(value));
  return count(number) ? number : 0;
}

// What the address does not hold: {"t.source": "...", ...}
export function tooLong(state) {
  const long = ([, text]) => text && text.length > LONGEST;
  const texts = (prefix, all) => Object.entries(all ?? {}).map(([name, text]) => [`${prefix}t.${name}`, text]);
  const all = [...texts("", state.texts), ...texts("other.", state.other?.texts), ["gold", state.gold]];
  return Object.fromEntries(all.filter(long));
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
    if (typeof value === "string" && value.length > LONGEST) continue;
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
  // The browser keeps long texts with each step, so that going back, and loading anew, finds them.
  let state = parse(location.hash, history.state?.kept);
  let shown = told();
  let later = 0;
  const listeners = new Set();

  const tell = () => listeners.forEach((listener) => listener(state));

  // The address, and what is kept beside it.
  function told() {
    return JSON.stringify([format(state), tooLong(state)]);
  }

  // Browsers allow about 100 changes of the address in 30 s: within a picture it follows a moment later.
  function address(step) {
    clearTimeout(later);
    const write = () => {
      const next = told();
      if (next === shown) return;
      shown = next;
      record(format(state) || location.pathname + location.search);
    };
    const change = step ? "pushState" : "replaceState";
    const record = (next) => {
      try {
        history[change]({ kept: tooLong(state) }, "", next);
      } catch {
        history[change](null, "", next); // more than the browser keeps
      }
    };
    if (step) write();
    else later = setTimeout(write, 300);
  }

  addEventListener("popstate", (event) => {
    clearTimeout(later);
    const before = tooLong(state);
    state = parse(location.hash, event.state?.kept);
    // An address that was typed knows nothing of the text that was looked at, but is hardly meant to forget it.
    if (!event.state && location.hash && !Object.keys(state.texts).length) state = parse(location.hash, before);
    shown = told();
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

// Another attention, as a patch of the state: the query and key that are fixed mean nothing on other axes.
export function moved(from, map, head) {
  const same = from.queries === map.queries && from.keys === map.keys;
  return { map: map.name, head, ...(same ? {} : { query: null, key: null }) };
}

// The head before or after, across layers: a patch of the state.
export function beside(scene, state, step) {
  const { number, map, head } = chosen(scene, state);
  const next = (head === "mean" ? (step > 0 ? -1 : map.heads) : head) + step;
  if (next >= 0 && next < map.heads) return { map: map.name, head: next };
  const other = scene.maps[(number + step + scene.maps.length) % scene.maps.length];
  return moved(map, other, step > 0 ? 0 : other.heads - 1);
}

// A model in the address: by its folder, where only one has this name, else by its id; one alone need not be named.
export function addressOf(model, models) {
  if (models.length < 2) return null;
  const alone = models.filter((one) => one.folder_name === model.folder_name).length === 1;
  return alone && model.folder_name ? model.folder_name : model.id;
}

// The model that an address names. Folders come first: ids are numbers, and a folder may be called "0".
export function named(models, address) {
  return models.find((one) => one.folder_name === address) ?? models.find((one) => one.id === address);
}
