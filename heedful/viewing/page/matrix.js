// A small matrix with its labels and numbers: what needs no map. Rows are queries, columns keys; or what the caller says.

import { fit, fitted, look } from "./canvas.js";
import { css, ink } from "./colors.js";
import { shorten, shown } from "./tokens.js";

const SLANT = Math.PI / 4;

// rows, columns: texts; value(row, column) -> number; shade(value) -> 0 ... 255; width: what cells and labels fit into as
// far as they can be small, the canvas is wider where they cannot.
// Gives at(x, y) -> {row, column} or null, for pointers.
export function drawMatrix(canvas, { rows, columns, value, shade, width, cell = 44 }) {
  const { ink: text, muted, serif, sans } = look();
  const measure = canvas.getContext("2d");
  const font = `15px ${serif}`;
  measure.font = font;
  const wide = (label) => measure.measureText(label).width;
  const names = rows.map((label) => shorten(shown(label), 48));
  const tops = columns.map((label) => shorten(shown(label), 24));
  const left = Math.min(Math.max(0, ...names.map(wide)), width * 0.5) + 12;
  const size = Math.max(16, Math.min(cell, (width - left - 40) / Math.max(columns.length, 1)));
  const slanted = tops.some((label) => wide(label) > size - 4);
  const longest = Math.max(0, ...tops.map(wide));
  const top = slanted ? Math.min(longest, 150) * Math.sin(SLANT) + 18 : 26;
  const overhang = slanted ? Math.min(longest, 150) * Math.cos(SLANT) : 4;
  const tall = Math.max(16, Math.min(size, 30));

  const whole = left + columns.length * size + overhang;
  const context = fit(canvas, whole, top + rows.length * tall + 2);
  context.font = font;
  context.textBaseline = "middle";
  tops.forEach((label, column) => {
    const x = left + (column + 0.5) * size;
    context.save();
    context.fillStyle = muted;
    if (slanted) {
      context.translate(x, top - 6);
      context.rotate(-SLANT);
      context.textAlign = "left";
      context.fillText(fitted(context, label, 150), 0, 0);
    } else {
      context.textAlign = "center";
      context.fillText(label, x, top - 12);
    }
    context.restore();
  });
  rows.forEach((_, row) => {
    const y = top + row * tall;
    context.font = font;
    context.textAlign = "right";
    context.fillStyle = text;
    context.fillText(fitted(context, names[row], left - 12), left - 10, y + tall / 2);
    columns.forEach((_, column) => {
      const weight = value(row, column);
      const part = shade(weight) / 255;
      const x = left + column * size;
      context.fillStyle = css("weights", part);
      context.fillRect(x, y, size - 1, tall - 1);
      if (size < 34) return;
      context.font = `12px ${sans}`;
      context.textAlign = "center";
      context.fillStyle = ink("weights", part);
      context.globalAlpha = 0.9;
      context.fillText(digits(weight), x + size / 2, y + tall / 2 + 0.5);
      context.globalAlpha = 1;
    });
  });

  return (x, y) => {
    const row = Math.floor((y - top) / tall);
    const column = Math.floor((x - left) / size);
    return row >= 0 && row < rows.length && column >= 0 && column < columns.length ? { row, column } : null;
  };
}

// Two digits are enough in a cell: .97
export function digits(weight) {
  if (weight >= 0.995) return "1.0";
  if (weight >= 0.005) return weight.toFixed(2).slice(1);
  return weight >= 0.0005 ? "·" : "";
}
