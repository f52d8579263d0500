// A vector as a strip of coloured cells, one for each number: blue below zero, orange above, neutral at zero.
//
// Strips of one kind ("k": what is compared, "v": what is averaged) stand under each other, so that a dimension is a
// column. The column that is pointed at is drawn by style alone: the table says where it is (--k-at, --k-one).

import { lookup } from "./colors.js";

// kind: "k" or "v"; numbers: of a vector; most: the magnitude that has the full colour; about: for screen readers
export function strip(kind, numbers, most, about, row = null) {
  const element = document.createElement("div");
  element.className = `strip of-${kind}`;
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", `${about}, ${numbers.length} numbers`);
  if (row !== null) element.dataset.row = row;
  const canvas = document.createElement("canvas");
  // A cell is a pixel, and style stretches it.
  canvas.width = Math.max(1, numbers.length);
  canvas.height = 1;
  canvas.classList.toggle("fine", numbers.length > 260);
  const picture = canvas.getContext("2d").createImageData(canvas.width, 1);
  const colours = lookup("difference");
  numbers.forEach((number, i) => {
    const place = Math.round(127.5 + 127.5 * Math.max(-1, Math.min(1, number / (most || 1))));
    picture.data.set(colours.subarray(4 * place, 4 * place + 4), 4 * i);
  });
  canvas.getContext("2d").putImageData(picture, 0, 0);
  element.append(canvas);
  return element;
}

// The dimension under a pointer.
export function dimension(element, clientX, count) {
  const { left, width } = element.getBoundingClientRect();
  return Math.max(0, Math.min(count - 1, Math.floor(((clientX - left) / width) * count)));
}

// The largest magnitude of some vectors.
export function magnitude(...vectors) {
  let most = 0;
  for (const numbers of vectors) for (const number of numbers) if (Math.abs(number) > most) most = Math.abs(number);
  return most;
}
