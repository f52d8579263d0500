// What is seen of a map, as files: the picture as PNG, its weights as CSV.

import { look } from "./canvas.js";
import { chosen } from "./state.js";
import { numbered } from "./tokens.js";

const WEIGHTS = 2 ** 20;
const SHARP = 2; // pixels of the file for one of the page

export function savePicture(view) {
  const { width, height } = view.size;
  const used = Math.min(width, Math.max(view.origin.x + view.camera.plotWidth + view.room.right, view.end));
  const canvas = document.createElement("canvas");
  canvas.width = used * SHARP;
  canvas.height = height * SHARP;
  const context = canvas.getContext("2d");
  context.scale(SHARP, SHARP);
  context.fillStyle = look().ground;
  context.fillRect(0, 0, used, height);
  view.paint(context);
  canvas.toBlob((blob) => save(blob, `${name(view)}.png`));
}

// Queries below each other, keys beside each other, each with its number: so that "=1+1" stays a token in every sheet.
export async function saveNumbers(view) {
  const { scene, state, source } = view.context;
  const { number, head } = chosen(scene, state);
  const rows = view.camera.seenQueries;
  const keys = view.camera.seenKeys;
  const columns = keys[1] - keys[0];
  if ((rows[1] - rows[0]) * columns > WEIGHTS) {
    throw new Error(`So many weights are no table: go nearer, until ${WEIGHTS.toLocaleString("en")} are seen.`);
  }
  let { weights } = await source.weights(scene, number, head, rows, keys);
  if (view.without?.possible) weights = await view.without.renormalised(weights, rows, keys);
  const names = (axis, [a, b]) => Array.from({ length: b - a }, (_, i) => quoted(numbered(axis, a + i)));
  const left = names(view.axes.queries, rows);
  const lines = [["", ...names(view.axes.keys, keys)].join(",")];
  left.forEach((label, row) => {
    const values = Array.from(weights.subarray(row * columns, (row + 1) * columns), (weight) => (Number.isNaN(weight) ? "" : weight));
    lines.push([label, ...values].join(","));
  });
  save(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }), `${name(view)}.csv`);
}

function quoted(text) {
  return `"${text.replaceAll('"', '""')}"`;
}

function name({ context: { scene, state } }) {
  const { map, head } = chosen(scene, state);
  return `heedful-${map.name.replace(/[^\w.-]+/g, "-")}-${head === "mean" ? "mean" : `head-${head}`}`;
}

function save(blob, file) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
