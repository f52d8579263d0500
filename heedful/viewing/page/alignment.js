// Alignment: which source word each target word goes with, read off the attention, beside links that people made.
//
// Words as rows and columns; a dot is a link that was read, an outline one that was given: solid for sure ones, dashed
// for possible ones. Beside it all heads in small: how far each is from what was given, or from what all say together.

import { fit, look } from "./canvas.js";
import { css, ink } from "./colors.js";
import { choice, menu, node, tick } from "./controls.js";
import { agreementOf, betweenWords, errorOf, linksOf, readGold, wordsOf } from "./word_links.js";
import { mapTitle, shorten, shown, weightText } from "./tokens.js";

// More words are no matrix that one reads. Weights of all heads are asked for up to so many.
const WORDS = 220;
const WEIGHTS = 2 ** 20;
const ALL_HEADS = 6_000_000;
const SLANT = Math.PI / 4;

// What was given, by the texts it was given for: it stays while one looks at other views.
const given = new Map();

export const view = {
  name: "alignment",
  title: "Alignment",
  hint: "Word alignment read off the attention, beside links that people made.",
  available(scene) {
    const crosses = scene.maps.filter((map) => map.group === "cross" && map.queries === "target");
    if (!crosses.length) return "Words are aligned between two texts: this model has no attention from one to another.";
    const [queries, keys] = crosses[0].shape;
    if (queries * keys > WEIGHTS) return "These texts are too long to be aligned word by word; look at a sentence.";
    return true;
  },
  mount,
};

function mount(container, context) {
  const { scene, source } = context;
  const crosses = scene.maps.map((map, number) => ({ map, number })).filter(({ map }) => map.group === "cross" && map.queries === "target");
  const [queries, keys] = crosses[0].map.shape;
  const sources = wordsOf(scene.axes[crosses[0].map.keys]);
  const targets = wordsOf(scene.axes[crosses[0].map.queries]);
  const shape = [queries, keys];
  const texts = JSON.stringify([scene.texts, scene.answer]);
  let { method } = context.state;
  // What the address says, else what was given before for these texts.
  const known = context.state.gold ? { text: context.state.gold, first: context.state.counted } : (given.get(texts) ?? { text: "", first: context.state.counted });
  let { first } = known;
  let gold = readGold(known.text, first);
  let weights = null; // of the head that is looked at
  let every = null; // [[links of each head ..., of their mean] of each layer]
  let asked = "";
  let pointed = null;

  const maps = menu("Layer", crosses.map(({ map }) => [map.name, mapTitle(map)]), (map) => context.set({ map }));
  const heads = menu("Head", null, (head) => context.set({ head: head === "mean" ? "mean" : Number(head) }));
  const methods = choice("Method", [
    ["plain", "predicting", "the row of the position that predicts a word"],
    ["shift", "reading", "the row of the position that reads a word, one later (shift; Chen et al. 2020)"],
  ], (value) => context.set({ method: value }));
  const text = document.createElement("input");
  text.type = "text";
  text.spellcheck = false;
  text.placeholder = "0-0 1-1 2p3";
  text.className = "gold";
  text.maxLength = 20000;
  text.value = known.text;
  text.setAttribute("aria-describedby", "gold-said");
  text.addEventListener("input", read);
  const ones = tick("words counted from 1", (value) => {
    first = value ? 1 : 0;
    read();
  });
  ones.box.checked = first === 1;
  const said = node("p", "note");
  said.id = "gold-said";
  const verdict = node("p", "alignment-verdict number");
  verdict.setAttribute("role", "status");
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  canvas.className = "alignment-matrix";
  const table = node("div", "alignment-heads");
  const pharaoh = node("p", "note pharaoh number");
  container.append(
    node("div", "controls", maps.element, heads.element, methods.element),
    node("div", "controls", node("label", "gold-label", node("span", "", "Gold links"), text), ones.element),
    said,
    verdict,
    node("div", "alignment-pair", node("div", "alignment-scroll", canvas), table),
    pharaoh,
  );
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerleave", () => {
    pointed = null;
    context.tooltip.hide();
    draw();
  });
  const resized = new ResizeObserver(() => draw());
  resized.observe(container);
  let at = () => null;

  function where() {
    const place = crosses.find(({ map }) => map.name === context.state.map) ?? crosses[Math.max(0, crosses.length - 2)];
    const { head } = context.state;
    // Where nobody has chosen a head, their mean: what alignments are mostly read off.
    const chosen = context.state.map === place.map.name && Number.isInteger(head) && head < place.map.heads ? head : "mean";
    return { ...place, head: place.map.heads === 1 ? 0 : chosen };
  }

  function read() {
    given.set(texts, { text: text.value, first });
    gold = readGold(text.value, first);
    draw();
    context.set({ gold: text.value, counted: first });
  }

  // What the address says when one goes back; one without gold links says nothing of them.
  function follow() {
    const { state } = context;
    if (state.method !== method) every = null;
    method = state.method;
    if (!state.gold || (state.gold === text.value && state.counted === first)) return;
    text.value = state.gold;
    first = state.counted;
    ones.box.checked = first === 1;
    read();
  }

  async function load() {
    follow();
    const { map, number, head } = where();
    maps.show(map.name);
    heads.show(head, [...(map.heads > 1 ? [["mean", "mean of all"]] : []), ...Array.from({ length: map.heads }, (_, i) => [String(i), String(i + 1)])]);
    heads.element.hidden = map.heads === 1;
    methods.show(method);
    const key = `${number} ${head} ${method} ${context.theme}`;
    if (key === asked) return;
    asked = key;
    try {
      const found = await weightsOf(number, head);
      if (key !== asked) return;
      weights = found;
      draw();
      if (every) return;
      const all = await allLinks();
      if (key !== asked || !all) return;
      every = all;
      draw();
    } catch (error) {
      if (key !== asked) return;
      asked = "";
      context.fail(error);
    }
  }

  async function weightsOf(number, head) {
    return (await source.weights(scene, number, head, [0, queries], [0, keys])).weights;
  }

  async function allLinks() {
    const count = crosses.reduce((sum, { map }) => sum + map.heads, 0);
    if (count * queries * keys > ALL_HEADS) return null;
    return Promise.all(
      crosses.map(async ({ map, number }) => {
        const all = await Promise.all(Array.from({ length: map.heads }, (_, head) => weightsOf(number, head)));
        const mean = all[0].map((_, i) => all.reduce((sum, one) => sum + one[i], 0) / all.length);
        return [...all, mean].map((one) => linksOf(one, shape, sources, targets, method));
      }),
    );
  }

  function draw() {
    if (!weights || !canvas.isConnected) return;
    const links = linksOf(weights, shape, sources, targets, method);
    const { map, head } = where();
    const title = mapTitle(map, head);
    if (gold.wrong.length) said.textContent = `${gold.wrong[0]} is no link: write 3-4 for a sure one, 3p4 for a possible one, source word first.`;
    else if (outside().length) said.textContent = `${outside()[0]} is outside the texts: there are ${sources.length} source and ${targets.length} target words, counted from ${first}.`;
    else said.textContent = gold.possible.size ? `${gold.sure.size} sure and ${gold.possible.size - gold.sure.size} possible links.` : "Links made by people, as Pharaoh wrote them: source word, dash, target word. With them the page tells how far off the attention is.";
    said.classList.toggle("wrong", Boolean(gold.wrong.length || outside().length));
    verdict.textContent = verdictOf(links, title);
    matrix(links);
    canvas.setAttribute("aria-label", `${title}: ${[...links].map(told).join(", ")}`);
    headTable();
    pharaoh.textContent = `Pharaoh: ${[...links].map(pair).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([s, t]) => `${s + first}-${t + first}`).join(" ")}`;
  }

  function outside() {
    return [...gold.possible].filter((link) => pair(link)[0] >= sources.length || pair(link)[1] >= targets.length).map((link) => {
      const [s, t] = pair(link);
      return `${s + first}-${t + first}`;
    });
  }

  function verdictOf(links, title) {
    if (!gold.possible.size) return `${title}: ${links.size} links.`;
    const { rate, precision, recall } = errorOf(links, gold);
    return `${title}: AER ${percent(rate)}, precision ${percent(precision)}, recall ${percent(recall)} on this sentence.`;
  }

  function told(link) {
    const [s, t] = pair(link);
    return `${targets[t].text} with ${sources[s].text}`;
  }

  function matrix(links) {
    const values = betweenWords(weights, shape, sources, targets, method);
    const columns = Math.min(sources.length, WORDS);
    const rows = Math.min(targets.length, WORDS);
    const colours = look();
    const drawing = canvas.getContext("2d");
    const font = `15px ${colours.serif}`;
    drawing.font = font;
    const names = targets.slice(0, rows).map(({ text }) => shorten(shown(text), 26));
    const tops = sources.slice(0, columns).map(({ text }) => shorten(shown(text), 20));
    const wide = (label) => drawing.measureText(label).width;
    const left = Math.max(0, ...names.map(wide)) + 12;
    const longest = Math.min(150, Math.max(0, ...tops.map(wide)));
    const space = canvas.parentElement.clientWidth - left - longest * Math.cos(SLANT) - 6;
    const size = Math.max(20, Math.min(38, space / Math.max(columns, 1)));
    const top = longest * Math.sin(SLANT) + 18;
    const picture = fit(canvas, left + columns * size + longest * Math.cos(SLANT) + 4, top + rows * size + 4);
    picture.font = font;
    picture.textBaseline = "middle";
    picture.textAlign = "left";
    tops.forEach((label, column) => {
      picture.save();
      picture.fillStyle = pointed?.column === column ? colours.ink : colours.muted;
      picture.translate(left + (column + 0.5) * size, top - 7);
      picture.rotate(-SLANT);
      picture.fillText(label, 0, 0, 150);
      picture.restore();
    });
    for (let row = 0; row < rows; row++) {
      const y = top + row * size;
      picture.fillStyle = pointed?.row === row ? colours.accent : colours.ink;
      picture.textAlign = "right";
      picture.fillText(names[row], left - 10, y + size / 2);
      for (let column = 0; column < columns; column++) {
        const value = Math.min(1, values[row * sources.length + column]);
        const x = left + column * size;
        picture.fillStyle = css("weights", value);
        picture.fillRect(x, y, size - 1, size - 1);
        const link = `${column}-${row}`;
        if (gold.possible.has(link)) {
          picture.strokeStyle = goldColour();
          picture.lineWidth = gold.sure.has(link) ? 2.5 : 1.8;
          picture.setLineDash(gold.sure.has(link) ? [] : [4, 3]);
          picture.strokeRect(x + 1.5, y + 1.5, size - 4, size - 4);
          picture.setLineDash([]);
        }
        if (links.has(link)) {
          picture.fillStyle = ink("weights", value);
          picture.beginPath();
          picture.arc(x + (size - 1) / 2, y + (size - 1) / 2, Math.max(2.5, size * 0.13), 0, 2 * Math.PI);
          picture.fill();
        }
      }
    }
    at = (x, y) => {
      const [row, column] = [Math.floor((y - top) / size), Math.floor((x - left) / size)];
      return row >= 0 && row < rows && column >= 0 && column < columns ? { row, column, value: values[row * sources.length + column], link: links.has(`${column}-${row}`) } : null;
    };
  }

  function point(event) {
    const box = canvas.getBoundingClientRect();
    const next = at(event.clientX - box.left, event.clientY - box.top);
    if (next?.row !== pointed?.row || next?.column !== pointed?.column) {
      pointed = next;
      draw();
    }
    if (!next) return context.tooltip.hide();
    const { row, column, value, link } = next;
    const kind = gold.sure.has(`${column}-${row}`) ? ", sure" : gold.possible.has(`${column}-${row}`) ? ", possible" : "";
    context.tooltip.show(`${shown(targets[row].text)} – ${shown(sources[column].text)}: ${weightText(value)}${link ? ", linked" : ""}${kind}`, event.clientX, event.clientY);
  }

  // All heads in small: the error of each, or how far it agrees with the mean of all layers.
  function headTable() {
    // One head alone has nothing to be compared with.
    if (!every || every.flat().length <= 2) return;
    const measured = gold.sure.size > 0;
    const together = consensus();
    const score = (links) => (measured ? 1 - errorOf(links, gold).rate : agreementOf(links, together));
    const best = every.flatMap((layer, i) => layer.map((links, j) => ({ i, j, value: score(links) }))).sort((a, b) => b.value - a.value)[0];
    const { map, head } = where();
    const grid = node("table", "correlations");
    const most = Math.max(...every.map((layer) => layer.length)) - 1;
    grid.append(node("caption", "", measured ? "AER of every head on this sentence, %" : "Agreement of every head with what all say together, %"));
    grid.append(node("tr", "", node("td"), ...Array.from({ length: most }, (_, i) => headCell(String(i + 1))), headCell("mean")));
    every.forEach((layer, i) => {
      const line = node("tr", "", headCell(mapTitle(crosses[i].map), "row"));
      const mean = layer.at(-1);
      [...layer.slice(0, -1), ...Array(most - layer.length + 1).fill(null), mean].forEach((links, j) => {
        const cell = node("td", "number");
        if (links) {
          const own = links === mean ? "mean" : j;
          const value = score(links);
          const button = document.createElement("button");
          button.type = "button";
          button.textContent = String(Math.round(100 * (measured ? 1 - value : value)));
          button.style.background = css("weights", value);
          button.style.color = ink("weights", value);
          button.setAttribute("aria-pressed", String(crosses[i].map === map && (own === head || (map.heads === 1 && own === 0))));
          button.setAttribute("aria-label", `${mapTitle(crosses[i].map, own)}: ${button.textContent} %`);
          button.addEventListener("click", () => context.set({ map: crosses[i].map.name, head: own }));
          cell.append(button);
        }
        line.append(cell);
      });
      grid.append(line);
    });
    const named = mapTitle(crosses[best.i].map, best.j === every[best.i].length - 1 ? "mean" : best.j);
    const words = measured
      ? `Best on this sentence: ${named}, AER ${percent(1 - best.value)}. One sentence is no measure: choose a head on others.`
      : `Nearest to all together: ${named}, ${percent(best.value)} of its links. That is agreement, not correctness.`;
    table.replaceChildren(grid, node("p", "note", words));
  }

  // Each target word with the source word that most heads link it with.
  function consensus() {
    const votes = new Map();
    for (const layer of every) for (const links of layer.slice(0, -1)) for (const link of links) votes.set(link, (votes.get(link) ?? 0) + 1);
    const best = new Map();
    for (const [link, count] of votes) {
      const target = pair(link)[1];
      if (!best.has(target) || count > best.get(target)[1]) best.set(target, [link, count]);
    }
    return new Set([...best.values()].map(([link]) => link));
  }

  if (known.text) context.set({ gold: known.text, counted: first });
  load();
  return {
    update: load,
    destroy() {
      asked = "gone"; // what is still being asked for is not drawn or failed elsewhere
      resized.disconnect();
      context.tooltip.hide();
    },
  };
}

function headCell(text, scope = "col") {
  const cell = node("th", "", text);
  cell.scope = scope;
  return cell;
}

function goldColour() {
  return getComputedStyle(document.documentElement).getPropertyValue("--gold").trim();
}

function pair(link) {
  return link.split("-").map(Number);
}

function percent(value) {
  return `${(100 * value).toFixed(1)} %`;
}
