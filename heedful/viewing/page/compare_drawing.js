// One of three maps that are compared, drawn whole: with its tokens where there is room, hatched where a side has nothing.

import { fit, look } from "./canvas.js";
import { lookup } from "./colors.js";
import { shorten, shown } from "./tokens.js";

const SLANT = Math.PI / 4;
const TRACK = 54;
const LABELLED = 11; // pixels of a cell that has its token beside it

// values (rows, columns), NaN where there is none; rows, columns: texts of single units, null where cells are several;
// most: the magnitude of the full colour; track: a number for each unit of the rows; rowsOf, columnsOf: (units, 2).
// Gives at(x, y) -> {row, column} or null; column is null on the track.
export function drawSide(canvas, { values, rows, columns, most, scale, track, width, cells, pointed, rowsOf, columnsOf }) {
  const [down, across] = values.shape;
  if (!down || !across) {
    fit(canvas, 1, 1);
    return () => null;
  }
  const colours = look();
  const measure = canvas.getContext("2d");
  measure.font = `14px ${colours.serif}`;
  const wide = (text) => measure.measureText(text).width;
  const single = cells[0] === 1 && cells[1] === 1;
  const names = single ? rows.map((text) => shorten(shown(text), 22)) : null;
  const tops = single && columns ? columns.map((text) => shorten(shown(text), 18)) : null;
  // All three are of one size, though only one has a track.
  const aside = TRACK + 14;
  const margin = names ? Math.min(Math.max(0, ...names.map(wide)), 130) + 10 : 0;
  const overhang = tops ? Math.min(Math.max(0, ...tops.map(wide)), 110) * Math.cos(SLANT) : 0;
  let size = Math.min(30, (width - margin - Math.max(aside, overhang)) / across);
  const labelled = names && tops && size >= LABELLED;
  const left = labelled ? margin : 0;
  if (!labelled) size = Math.min(30, (width - aside) / across);
  const tall = Math.min(size, 30);
  const top = labelled ? Math.min(Math.max(0, ...tops.map(wide)), 110) * Math.sin(SLANT) + 16 : 2;
  const right = left + across * size;
  const picture = fit(canvas, Math.min(width, right + Math.max(aside, labelled ? overhang : 0) + 2), top + down * tall + 4);
  picture.fillStyle = hatch(picture, colours.rule);
  picture.fillRect(left, top, across * size, down * tall);
  picture.imageSmoothingEnabled = false;
  picture.drawImage(image(values, down, across, most, scale), left, top, across * size, down * tall);
  if (labelled) labels();
  if (track) bars();
  if (pointed) cross();
  return (x, y) => {
    const row = Math.floor((y - top) / tall);
    const column = Math.floor((x - left) / size);
    if (row < 0 || row >= down || x < left) return null;
    if (column < across) return column >= 0 ? { row, column } : null;
    return track && x > right + 6 && x < right + 12 + TRACK ? { row, column: null } : null;
  };

  function labels() {
    picture.font = `${Math.min(14, Math.max(10, tall - 2))}px ${colours.serif}`;
    picture.textBaseline = "middle";
    names.forEach((name, row) => {
      picture.textAlign = "right";
      picture.fillStyle = pointed?.row === row ? colours.accent : alone(rowsOf, row) ? colours.muted : colours.ink;
      picture.fillText(name, left - 8, top + (row + 0.5) * tall, 130);
    });
    // Slanted lines stand closer than cells.
    picture.font = `${Math.min(14, Math.max(9, size * Math.SQRT1_2 + 1))}px ${colours.serif}`;
    picture.textAlign = "left";
    tops.forEach((name, column) => {
      picture.save();
      picture.fillStyle = pointed?.column === column ? colours.accent : alone(columnsOf, column) ? colours.muted : colours.ink;
      picture.translate(left + (column + 0.5) * size, top - 6);
      picture.rotate(-SLANT);
      picture.fillText(name, 0, 0, 110);
      picture.restore();
    });
  }

  // Of a cell of several queries the mean.
  function bars() {
    const colour = colours.accent;
    for (let row = 0; row < down; row++) {
      let sum = 0;
      let count = 0;
      for (let i = row * cells[0]; i < Math.min((row + 1) * cells[0], track.length); i++) {
        if (Number.isNaN(track[i])) continue;
        sum += track[i];
        count += 1;
      }
      picture.fillStyle = colours.rule;
      picture.fillRect(right + 9, top + row * tall, 1, tall);
      if (!count) continue;
      picture.fillStyle = colour;
      picture.fillRect(right + 10, top + row * tall + (tall > 4 ? 1 : 0), (TRACK * sum) / count, Math.max(tall - (tall > 4 ? 2 : 0), 0.5));
    }
  }

  function cross() {
    picture.strokeStyle = colours.accent;
    picture.lineWidth = 1.5;
    const y = top + pointed.row * tall;
    if (pointed.column === null) {
      picture.strokeRect(left, y, across * size, tall);
      return;
    }
    const x = left + pointed.column * size;
    picture.strokeRect(x - 0.5, y - 0.5, Math.max(size, 2), Math.max(tall, 2));
    picture.globalAlpha = 0.35;
    picture.strokeRect(left, y, across * size, Math.max(tall, 1));
    picture.strokeRect(x, top, Math.max(size, 1), down * tall);
    picture.globalAlpha = 1;
  }
}

export function largestKnown(values) {
  let most = 0;
  for (const value of values) if (Math.abs(value) > most) most = Math.abs(value);
  return most || 1;
}

// Whether only one side has a unit.
function alone(pairs, unit) {
  return pairs[2 * unit] < 0 || pairs[2 * unit + 1] < 0;
}

function image(values, rows, columns, most, scale) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [columns, rows];
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(columns, rows);
  const words = new Uint32Array(pixels.data.buffer);
  const colours = new Uint32Array(lookup(scale).buffer);
  for (let i = 0; i < words.length; i++) {
    const value = values[i];
    if (Number.isNaN(value)) continue;
    const part = scale === "difference" ? (1 + value / most) / 2 : value / most;
    words[i] = colours[Math.max(0, Math.min(255, Math.round(part * 255)))];
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function hatch(context, colour) {
  const tile = document.createElement("canvas");
  [tile.width, tile.height] = [6, 6];
  const drawing = tile.getContext("2d");
  drawing.strokeStyle = colour;
  drawing.lineWidth = 1;
  for (const start of [-6, 0, 6]) {
    drawing.beginPath();
    drawing.moveTo(start, 6);
    drawing.lineTo(start + 6, 0);
    drawing.stroke();
  }
  return context.createPattern(tile, "repeat");
}
