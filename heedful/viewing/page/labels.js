// Tokens along the two sides of a map: as many as there is room for; of very many only their numbers, at round places.

import { fitted, look } from "./canvas.js";
import { shorten, shown } from "./tokens.js";

const LEAST = 11; // pixels from one token to the next
export const SLANT = Math.PI / 3.2;
const FONT = 13.5;
const SMALLEST = 10;

// How much room labels want: {left, top, right}, in pixels, within bounds.
export function gutters(axes, phone) {
  const { serif } = look();
  const context = (gutters.context ??= document.createElement("canvas").getContext("2d"));
  context.font = `${FONT}px ${serif}`;
  const longest = (axis) => {
    let most = 0;
    // A look at some is enough; labels are cut where they are longer.
    for (const text of axis.text.slice(0, 300)) most = Math.max(most, context.measureText(label(text)).width);
    return most;
  };
  const left = Math.max(62, Math.min(phone ? 84 : 200, longest(axes.queries) + 22));
  const above = Math.min(phone ? 90 : 130, longest(axes.keys));
  return { left, top: Math.max(26, above * Math.sin(SLANT) + 16), right: above * Math.cos(SLANT) + 6, longest: above };
}

function label(text) {
  return shorten(shown(text), 26);
}

// origin: the corner of the picture. at: {query, key} that is pointed at, fixed: that is held; both may be null.
export function drawLabels(context, camera, axes, origin, room, at, fixed) {
  const { ink, muted, accent, serif, sans } = look();
  const { queries, keys } = axes;
  const style = { ink, muted, accent, serif, sans };

  context.textBaseline = "middle";
  context.textAlign = "right";
  const size = letters(camera.down);
  const rows = places(camera.seenQueries, camera.down, [at?.query, fixed?.query], 36);
  for (const [query, strong] of rows.list) {
    const y = origin.y + camera.top(query + 0.5);
    if (y < origin.y + 3 || y > origin.y + camera.plotHeight) continue;
    font(context, style, queries, query, strong, fixed?.query === query, rows.dense, size);
    const text = rows.dense || strong ? label(queries.text[query]) : query.toLocaleString("en");
    context.fillText(fitted(context, text, room.left - 12), origin.x - 8, y);
  }

  context.textAlign = "left";
  const columns = places(camera.seenKeys, camera.across, [at?.key, fixed?.key], 60);
  for (const [key, strong] of columns.list) {
    const x = origin.x + camera.left(key + 0.5);
    if (x < origin.x + 3 || x > origin.x + camera.plotWidth) continue;
    font(context, style, keys, key, strong, fixed?.key === key, columns.dense, letters(camera.across * Math.sin(SLANT)));
    const text = columns.dense || strong ? label(keys.text[key]) : key.toLocaleString("en");
    // Upright where all have room, so that it reads like a line.
    if (camera.across > room.longest + 6 || !columns.dense && !strong) {
      context.textAlign = "center";
      context.fillText(text, x, origin.y - 12);
      context.textAlign = "left";
      continue;
    }
    context.save();
    context.translate(x + 1, origin.y - 7);
    context.rotate(-SLANT);
    context.fillText(fitted(context, text, (room.top - 12) / Math.sin(SLANT)), 0, 0);
    context.restore();
  }
}

// Letters that leave their neighbours room, so many pixels away, as far as they can be read.
export function letters(apart) {
  return Math.max(SMALLEST, Math.min(FONT, apart - 1));
}

function font(context, { ink, muted, accent, serif, sans }, axis, number, strong, fixed, dense, size) {
  if (!dense && !strong) {
    context.font = `12px ${sans}`;
    context.fillStyle = muted;
    return;
  }
  const special = (axis.specials ??= new Set(axis.special)).has(number);
  context.font = `${strong || fixed ? 600 : 400} ${strong ? FONT : size}px ${special ? sans : serif}`;
  context.fillStyle = fixed ? accent : special && !strong ? muted : ink;
}

// Which of the rows (or columns) are labelled: {dense: with their tokens or numbers only, list: [[number, strong]]}.
// Those that are strong push their neighbours away. apart: pixels from one number to the next
function places([first, behind], size, strong, apart) {
  const held = strong.filter((one) => one !== null && one !== undefined && one >= first && one < behind);
  const dense = size >= LEAST;
  const step = dense ? 1 : round(apart / size);
  const list = [];
  for (let one = Math.ceil(first / step) * step; one < behind; one += step) {
    if (held.every((other) => Math.abs(other - one) * size >= (dense ? LEAST + 1 : apart * 0.6) || other === one)) {
      if (!held.includes(one)) list.push([one, false]);
    }
  }
  return { dense, list: [...list, ...held.map((one) => [one, true])] };
}

// 1, 2, 5, 10, 20, 50, ... that is no less.
export function round(least) {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= least - 1e-9);
}
