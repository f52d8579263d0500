// Drawing on canvases: sharp at any density of pixels, in the page's colours, weights as pixels.

import { lookup } from "./colors.js";
import { shorten } from "./tokens.js";

// Gives the context of a canvas of width x height CSS pixels, cleared, to be drawn on in CSS pixels.
export function fit(canvas, width, height) {
  const density = Math.min(globalThis.devicePixelRatio || 1, 3);
  const across = Math.max(1, Math.round(width * density));
  const down = Math.max(1, Math.round(height * density));
  if (canvas.width !== across) canvas.width = across;
  if (canvas.height !== down) canvas.height = down;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

// The colours and fonts of style.css, as canvases want them.
export function look() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return {
    ground: of("--ground"),
    ink: of("--ink"),
    muted: of("--muted"),
    rule: of("--rule"),
    accent: of("--accent"),
    soft: of("--accent-soft"),
    sans: of("--sans"),
    serif: of("--serif"),
    mono: of("--mono"),
  };
}

// A text cut so that it is no wider than `most` in the context's font.
export function fitted(context, text, most) {
  const { width } = context.measureText(text);
  if (width <= most) return text;
  let [fits, not] = [0, Math.min(text.length, 200)];
  while (not - fits > 1) {
    const middle = (fits + not) >> 1;
    if (context.measureText(shorten(text, middle)).width <= most) fits = middle;
    else not = middle;
  }
  return shorten(text, Math.max(1, fits));
}

// How weights become colours.
//
// log: over how many decades below `top` the colours run; 0: evenly from 0 to `top`.
// Gives a function of a weight to 0 ... 255.
export function shading(top, log) {
  const highest = top > 0 ? top : 1;
  if (!log) return (value) => Math.max(0, Math.min(255, Math.round((value / highest) * 255)));
  return (value) =>
    value > 0 ? Math.max(0, Math.min(255, Math.round((1 + Math.log10(value / highest) / log) * 255))) : 0;
}

// As many decades as a uniform row needs to be seen, and one more.
export function decades(keys) {
  return Math.max(3, Math.min(6, Math.ceil(Math.log10(Math.max(keys, 1)) + 1)));
}

// Weights as the pixels of a canvas, one each; `times` each weight before it is shaded. NaN stays clear.
export function pixels(weights, rows, columns, shade, times = 1, canvas = document.createElement("canvas")) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const words = new Uint32Array(image.data.buffer);
  const colours = new Uint32Array(lookup("weights").buffer);
  for (let i = 0; i < words.length; i++) {
    const weight = weights[i];
    words[i] = weight === weight ? colours[shade(weight * times)] : 0;
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

export function largest(values) {
  let most = 0;
  for (const value of values) if (value > most) most = value;
  return most;
}

// Says once when there is something to see: what tests of speed measure.
export function pictureDrawn() {
  if (!performance.getEntriesByName("heedful-first-picture").length) performance.mark("heedful-first-picture");
}
