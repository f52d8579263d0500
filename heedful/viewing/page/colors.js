// Colours of numbers: colors.json says which, for a light and for a dark page. Figures in Python read the same file.
//
//   scale("weights")(0.3)   [r, g, b] of a number between 0 and 1; "difference" has its neutral middle at 0.5
//   css("weights", 0.3)     the same for style sheets and canvases
//   lookup("weights")       256 colours in a row, as 1024 bytes r, g, b, 255
//   category(2)             one of 8 colours that tell things apart: layers, groups
//   ink("weights", 0.3)     what can be read on that colour
//
// All follow the theme that `setTheme` was last told.

const THEMES = await colors();
let theme = "light";
let tables = {};

// A saved page carries the file in itself, in an element with this id.
async function colors() {
  const carried = globalThis.document?.getElementById("colors.json");
  if (carried) return JSON.parse(carried.textContent);
  if (!globalThis.document) {
    const { readFile } = await import("node:fs/promises");
    return JSON.parse(await readFile(new URL("./colors.json", import.meta.url), "utf8"));
  }
  return (await fetch(new URL("./colors.json", import.meta.url))).json();
}

export function setTheme(name) {
  theme = name in THEMES ? name : "light";
  tables = {};
}

// The stops of a scale, each [r, g, b], for whoever wants to draw with them himself.
export function stops(name) {
  return THEMES[theme][name];
}

export function scale(name) {
  const colours = stops(name);
  return (value) => {
    const at = Math.min(Math.max(value, 0), 1) * (colours.length - 1);
    const below = Math.min(Math.floor(at), colours.length - 2);
    return colours[below].map((from, i) => Math.round(from + (colours[below + 1][i] - from) * (at - below)));
  };
}

export function css(name, value) {
  return `rgb(${scale(name)(value).join(" ")})`;
}

export function lookup(name) {
  return (tables[name] ??= Uint8ClampedArray.from({ length: 1024 }, (_, i) =>
    i % 4 === 3 ? 255 : scale(name)((i >> 2) / 255)[i % 4],
  ));
}

export function category(number) {
  const colours = stops("categories");
  return `rgb(${colours[number % colours.length].join(" ")})`;
}

// Black or white, whichever stands out more (relative luminance of WCAG 2).
export function ink(name, value) {
  const [r, g, b] = scale(name)(value).map((part) => {
    const c = part / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff";
}
