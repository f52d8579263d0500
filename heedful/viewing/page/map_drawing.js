// What is drawn of a map besides tiles, labels and tracks: frame, numbers in cells, the pointer, and the legend.

import { look, shading } from "./canvas.js";
import { ink, lookup } from "./colors.js";
import { digits } from "./matrix.js";
import { weightText } from "./tokens.js";

export const LEGEND = 44;

// Numbers stand in cells that are large enough; lines between cells before that.
export function drawNumbers(context, camera, tiles, { channel, log }) {
  const { across, down } = camera;
  if (camera.level || Math.min(across, down) < 12) return;
  const { ground, sans } = look();
  const [top, bottom] = camera.seenQueries;
  const [left, right] = camera.seenKeys;
  context.fillStyle = ground;
  context.globalAlpha = 0.7;
  for (let key = left; key <= right; key++) context.fillRect(Math.round(camera.left(key)) - 0.5, 0, 1, camera.plotHeight);
  for (let query = top; query <= bottom; query++) context.fillRect(0, Math.round(camera.top(query)) - 0.5, camera.plotWidth, 1);
  context.globalAlpha = 1;
  if (across < 30 || down < 15) return;
  const shade = shading(tiles.top(0, channel), log);
  context.font = `${Math.min(14, Math.max(10.5, across / 3.6))}px ${sans}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (let query = top; query < bottom; query++) {
    for (let key = left; key < right; key++) {
      const found = tiles.at(query, key);
      if (!found || found.size > 1 || !(found.mean > 0)) continue;
      const words = across >= 56 ? longer(found.mean) : digits(found.mean);
      if (!words) continue;
      context.fillStyle = ink("weights", shade(found.mean) / 255);
      context.fillText(words, camera.left(key + 0.5), camera.top(query + 0.5) + 0.5);
    }
  }
}

// Columns that are taken out are no zeros: they are grey.
export function drawTakenOut(context, camera, keys) {
  context.fillStyle = look().rule;
  const width = Math.max(1, camera.across);
  for (const key of keys) context.fillRect(camera.left(key), 0, width, camera.plotHeight);
}

function longer(weight) {
  return weight >= 0.0005 ? weight.toFixed(3).replace(/^0/, "") : digits(weight);
}

// why: what is said in the picture where it cannot be shown.
export function drawFrame(context, camera, origin, why) {
  const { rule, muted, serif } = look();
  if (why) {
    context.save();
    context.beginPath();
    context.rect(origin.x, origin.y, camera.plotWidth, camera.plotHeight);
    context.clip();
    context.strokeStyle = rule;
    context.lineWidth = 1;
    for (let at = -camera.plotHeight; at < camera.plotWidth; at += 9) {
      context.beginPath();
      context.moveTo(origin.x + at, origin.y + camera.plotHeight);
      context.lineTo(origin.x + at + camera.plotHeight, origin.y);
      context.stroke();
    }
    context.fillStyle = muted;
    context.font = `italic 16px ${serif}`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(why, origin.x + camera.plotWidth / 2, origin.y + camera.plotHeight / 2, camera.plotWidth - 16);
    context.restore();
  }
  context.strokeStyle = rule;
  context.lineWidth = 1;
  context.strokeRect(origin.x - 0.5, origin.y - 0.5, camera.plotWidth + 1, camera.plotHeight + 1);
}

export function drawPointer(context, camera, origin, at, fixed) {
  const { accent, ink: colour } = look();
  const { plotWidth: width, plotHeight: height, across, down } = camera;
  context.save();
  context.beginPath();
  context.rect(origin.x - 1, origin.y - 1, width + 2, height + 2);
  context.clip();
  context.translate(origin.x, origin.y);
  if (fixed.query !== null) band(context, accent, 0, camera.top(fixed.query), width, down);
  if (fixed.query !== null && fixed.key !== null) {
    context.strokeStyle = accent;
    context.lineWidth = 2;
    const w = Math.max(across, 5);
    const h = Math.max(down, 5);
    context.strokeRect(camera.left(fixed.key + 0.5) - w / 2, camera.top(fixed.query + 0.5) - h / 2, w, h);
  }
  if (at) {
    context.globalAlpha = 0.5;
    band(context, colour, 0, camera.top(at.query), width, down);
    band(context, colour, camera.left(at.key), 0, across, height);
  }
  context.restore();
}

// Two thin lines around a row or column; one where it is thin itself.
function band(context, colour, x, y, width, height) {
  context.fillStyle = colour;
  if (width > height) {
    if (height < 4) return context.fillRect(x, Math.round(y + height / 2), width, 1);
    context.fillRect(x, Math.round(y) - 1, width, 1);
    return context.fillRect(x, Math.round(y + height), width, 1);
  }
  if (width < 4) return context.fillRect(Math.round(x + width / 2), y, 1, height);
  context.fillRect(Math.round(x) - 1, y, 1, height);
  return context.fillRect(Math.round(x + width), y, 1, height);
}

// The scale of colours and what the cells are, at the foot of the picture. Gives where the words end.
export function drawLegend(context, map, { title, cell }) {
  const { camera, origin, style, tiles, size } = map;
  const { muted, ink: colour, sans, rule } = look();
  const y = size.height - LEGEND + 14;
  const bar = Math.min(150, size.width * 0.3);
  const top = tiles.top(camera.level, style.channel);
  const low = style.log ? top / 10 ** style.log : 0;
  const colours = lookup("weights");
  const left = Math.min(origin.x, 12);
  context.font = `12px ${sans}`;
  context.textBaseline = "middle";
  context.textAlign = "left";
  context.fillStyle = muted;
  const from = style.log ? weightText(low) : "0";
  context.fillText(from, left, y + 5);
  const start = left + context.measureText(from).width + 6;
  for (let i = 0; i < bar; i++) {
    const at = Math.round((i / (bar - 1)) * 255) * 4;
    context.fillStyle = `rgb(${colours[at]} ${colours[at + 1]} ${colours[at + 2]})`;
    context.fillRect(start + i, y, 1.5, 10);
  }
  context.strokeStyle = rule;
  context.strokeRect(start - 0.5, y - 0.5, bar + 1, 11);
  context.fillStyle = muted;
  const to = `${weightText(top)}${style.log ? " (log)" : ""}`;
  context.fillText(to, start + bar + 6, y + 5);
  const after = start + bar + 6 + context.measureText(to).width + 18;
  // Beside the scale where there is room, else below it.
  context.font = `600 12px ${sans}`;
  context.fillStyle = colour;
  const beside = size.width - after > 320;
  const x = beside ? after : left;
  const line = beside ? y + 5 : y + 22;
  context.fillText(title, x, line);
  const gone = context.measureText(title).width + 10;
  context.font = `12px ${sans}`;
  context.fillStyle = muted;
  const end = Math.min(size.width, x + gone + context.measureText(cell).width + 8);
  context.fillText(cell, x + gone, line, Math.max(40, end - x - gone - 4));
  return end;
}
