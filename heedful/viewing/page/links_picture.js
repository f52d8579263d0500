// Two lines of tokens with links between them: side by side rows where there is room, else two columns.

import { node } from "./controls.js";
import { tokenElement, weightText } from "./tokens.js";

const SVG = "http://www.w3.org/2000/svg";
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;
const BETWEEN = 190; // pixels between two rows
const ROW = 30; // of a column's line
const GAP = 6;

// queries, keys: [{text, special, number, unit}]; links: [{query, key, weight, colour}], by places in those lists;
// titles: of the two lines; choose(kind, place): one was clicked; look(kind, place | null): one is looked at
export function drawLinks(container, { queries, keys, links, titles, choose, look }) {
  const picture = node("div", "links");
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const lines = { query: node("div", "line queries"), key: node("div", "line keys") };
  for (const kind of ["query", "key"]) {
    lines[kind].setAttribute("role", "group");
    lines[kind].setAttribute("aria-label", titles[kind]);
  }
  const buttons = { query: queries.map((one, i) => token("query", one, i)), key: keys.map((one, i) => token("key", one, i)) };
  lines.query.append(...buttons.query);
  lines.key.append(...buttons.key);
  const names = { query: node("span", "line-title", titles.query), key: node("span", "line-title", titles.key) };
  picture.append(svg, names.query, lines.query, names.key, lines.key);
  container.replaceChildren(picture);

  const paths = links.map((link) => {
    const path = document.createElementNS(SVG, "path");
    path.style.stroke = link.colour;
    path.style.strokeWidth = 0.6 + 7.4 * link.weight;
    path.style.opacity = 0.16 + 0.84 * Math.min(1, link.weight) ** 0.7;
    return path;
  });
  svg.append(...paths);

  function token(kind, one, place) {
    const button = node("button", "link-token");
    button.type = "button";
    if (one.gap) button.classList.add("after-gap");
    button.append(tokenElement(one.text, { special: one.special, most: Math.max(queries.length, keys.length) > 14 ? 28 : 64 }), node("span", "weight"));
    button.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && look(kind, place));
    button.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && look(kind, null));
    button.addEventListener("focus", () => button.matches(":focus-visible") && look(kind, place));
    button.addEventListener("blur", () => look(kind, null));
    button.addEventListener("click", () => choose(kind, place));
    return button;
  }

  function lay() {
    const width = container.clientWidth;
    picture.className = "links measuring";
    const sizes = (kind) => buttons[kind].map((button) => button.offsetWidth);
    const [wideQueries, wideKeys] = [sizes("query"), sizes("key")];
    const total = (widths) => widths.reduce((sum, one) => sum + one + GAP, 0);
    const across = total(wideQueries) <= width && total(wideKeys) <= width;
    picture.className = `links ${across ? "across" : "down"}`;
    const at = across ? layRows(width, wideQueries, wideKeys) : layColumns(width, wideQueries, wideKeys);
    svg.setAttribute("width", at.width);
    svg.setAttribute("height", at.height);
    picture.style.height = `${at.height}px`;
    links.forEach(({ query, key, weight }, i) => {
      const [x1, y1] = at.query[query];
      const [x2, y2] = at.key[key];
      const bend = across ? `C${x1} ${(y1 + y2) / 2} ${x2} ${(y1 + y2) / 2}` : `C${(x1 + x2) / 2} ${y1} ${(x1 + x2) / 2} ${y2}`;
      // The centre of a thick line stays at its token.
      paths[i].setAttribute("d", `M${x1} ${y1} ${bend} ${x2} ${y2}`);
      paths[i].style.strokeWidth = 0.6 + (across ? 7.4 : 6) * weight;
    });
  }

  // Both lines in the middle, in the direction in which they are read.
  function layRows(width, wideQueries, wideKeys) {
    const place = (kind, widths, top, edge) => {
      const whole = widths.reduce((sum, one) => sum + one + GAP, -GAP);
      // As far apart as there is room for, but not torn.
      const spare = Math.min(26, Math.max(0, (width - whole) / Math.max(1, widths.length)));
      const leftwards = isRightToLeft(kind === "query" ? queries : keys);
      let x = Math.max(0, (width - whole - spare * (widths.length - 1)) / 2);
      const found = [];
      const order = widths.map((_, i) => (leftwards ? widths.length - 1 - i : i));
      for (const i of order) {
        buttons[kind][i].style.transform = `translate(${x}px, ${top}px)`;
        found[i] = [x + widths[i] / 2, edge];
        x += widths[i] + GAP + spare;
      }
      return found;
    };
    const tall = 44;
    const top = 22;
    const query = place("query", wideQueries, top, top + tall);
    const key = place("key", wideKeys, top + tall + BETWEEN, top + tall + BETWEEN);
    // Beside their lines, where there is room.
    const room = Math.min(...[...query, ...key].map(([x]) => x)) > 150;
    names.query.style.transform = `translate(0, ${room ? top + tall - 22 : 0}px)`;
    names.key.style.transform = `translate(0, ${top + tall + BETWEEN + (room ? 3 : tall + 4)}px)`;
    return { width, height: top + 2 * tall + BETWEEN + (room ? 4 : 30), query, key };
  }

  function layColumns(width, wideQueries, wideKeys) {
    const row = matchMedia("(pointer: coarse)").matches || width < 600 ? 36 : ROW;
    const most = width * 0.42;
    const left = Math.min(most, Math.max(60, ...wideQueries));
    const right = Math.min(most, Math.max(60, ...wideKeys));
    const whole = Math.min(width, left + right + 420);
    const start = (width - whole) / 2;
    const top = 26;
    const place = (kind, count, x, edge, other) => {
      // The shorter line stands in the middle of the longer one, but never far down.
      const shift = Math.min(3, Math.max(0, other - count) / 2) * row;
      return Array.from({ length: count }, (_, i) => {
        const y = top + shift + i * row;
        const button = buttons[kind][i];
        const own = Math.min(most, kind === "query" ? wideQueries[i] : wideKeys[i]);
        button.style.maxWidth = `${most}px`;
        button.style.transform = `translate(${kind === "query" ? x + left - own : x}px, ${y}px)`;
        return [edge, y + row / 2];
      });
    };
    names.query.style.transform = `translate(${start}px, 0)`;
    names.key.style.transform = `translate(${Math.min(start + whole - right, width - names.key.offsetWidth)}px, 0)`;
    return {
      width,
      height: top + row * Math.max(queries.length, keys.length) + 8,
      query: place("query", queries.length, start, start + left + 4, keys.length),
      key: place("key", keys.length, start + whole - right, start + whole - right - 4, queries.length),
    };
  }

  lay();
  let laid = container.clientWidth;
  const observer = new ResizeObserver(() => {
    if (container.clientWidth === laid) return;
    laid = container.clientWidth;
    lay();
  });
  observer.observe(container);

  return {
    // Shows the links of one token alone, with their numbers; null: all links.
    alone(kind, place) {
      const other = kind === "query" ? "key" : "query";
      picture.classList.toggle("alone", kind !== null);
      const sums = new Map();
      links.forEach((link, i) => {
        const own = kind !== null && link[kind] === place;
        paths[i].classList.toggle("own", own);
        if (own) sums.set(link[other], Math.max(sums.get(link[other]) ?? 0, link.weight));
      });
      for (const side of ["query", "key"]) {
        buttons[side].forEach((button, i) => {
          const linked = kind !== null && side === other && sums.has(i);
          button.classList.toggle("linked", linked);
          button.classList.toggle("looked-at", side === kind && i === place);
          button.lastChild.textContent = linked ? weightText(sums.get(i)) : "";
        });
      }
      return sums;
    },
    fix(kind, place) {
      for (const side of ["query", "key"]) {
        buttons[side].forEach((button, i) => button.setAttribute("aria-pressed", String(side === kind && i === place)));
      }
    },
    focus: (kind, place) => buttons[kind][place]?.focus(),
    destroy: () => observer.disconnect(),
  };
}

function isRightToLeft(tokens) {
  const written = tokens.filter(({ text }) => /\p{L}/u.test(text));
  return written.length > 0 && written.filter(({ text }) => RIGHT_TO_LEFT.test(text)).length > written.length / 2;
}
