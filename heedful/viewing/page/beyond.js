// Beyond weights: what else can be said of the tokens behind an output, beside attention, and how far it agrees.
//
// For one output each axis has a table: tokens as rows, methods as columns of bars. Below it the rank correlations of all
// methods, so that nobody takes one for another. Rollout alone needs no gradients, and stands as strips below.

import { fit, largest } from "./canvas.js";
import { tokenChooser } from "./choosers.js";
import { css, ink, lookup } from "./colors.js";
import { button, choice, menu, node } from "./controls.js";
import { METHODS, ORDER, agreement } from "./methods.js";
import { numbered, shown, tokenElement, weightText } from "./tokens.js";

// Rows of a table; of longer texts those that any method puts among its first.
const ROWS = 160;
// Fewer tokens come into the same order by chance.
const FEW = 5;

export const view = {
  name: "beyond",
  title: "Beyond",
  hint: "Rollout, gradients and occlusion beside attention, and how far they agree.",
  available(scene, source) {
    if (scene.gradients && source.can.attribution) return true;
    if (scene.rollout && source.can.rollout) return true;
    if (!source.can.attribution) return "A saved page does not carry what this is made of; open the model with heedful view.";
    return "This model gives no scores to take gradients of, and its layers cannot be followed for rollout.";
  },
  mount,
};

function mount(container, context) {
  const { scene, source } = context;
  const gradients = scene.gradients && source.can.attribution;
  const rolls = scene.rollout && source.can.rollout;
  const axis = outputAxis(scene);
  let layer = "mean"; // or its number, counted from 0
  let told = null; // what the address said of the layer that is drawn
  let coefficient = "spearman";
  let deep = false;
  let found = null; // what the server told last
  let asked = "";
  let rolled = null; // {output, row, received}
  let rolling = "";

  const chooser = tokenChooser({ label: "Output", choose: (output) => context.set({ output }) });
  const layers = menu("Attention of", [["mean", "all layers, their mean"]], (value) => context.set({ layer: value === "mean" ? null : Number(value) }));
  const more = button("Add integrated gradients and occlusion", () => {
    deep = true;
    score();
  }, "About a hundred passes through the model: some seconds.");
  const kinds = choice("Correlation", [
    ["spearman", "Spearman", "Pearson's correlation of ranks"],
    ["kendall", "Kendall", "tau-b: pairs in the same order, less those in the opposite one"],
  ], (value) => {
    coefficient = value;
    drawTables();
  });
  const controls = node("div", "controls", layers.element, kinds.element, more);
  const sentence = node("p", "beyond-sentence");
  const facts = node("p", "note number");
  const tables = node("div", "beyond-tables");
  const strips = node("section", "beyond-rollout");
  const legend = legendOf(gradients ? ORDER : ["rollout"]);
  container.append(node("div", "asking", node("span", "asking-label", "Output"), chooser.element));
  if (gradients) container.append(sentence, controls, tables, facts);
  if (rolls) container.append(strips);
  container.append(legend);

  const resized = new ResizeObserver(() => drawStrips());
  resized.observe(container);

  // Counted from 0, within what there is.
  function output() {
    const count = scene.outputs?.taken.length ?? axis.text.length;
    return Math.max(0, Math.min(context.state.output ?? firstOrdinary(axis), count - 1));
  }

  // Rollout takes a moment, gradients may take long, and a saved page may have one without the other.
  function load() {
    chooser.update(axis, output());
    context.fail(null);
    if (gradients) score();
    if (rolls) roll();
  }

  async function score() {
    const number = output();
    const key = `${number} ${deep} ${context.theme}`;
    if (key === asked) {
      if (told !== context.state.layer) drawTables();
      return;
    }
    asked = key;
    tables.setAttribute("aria-busy", "true");
    try {
      const scores = await context.wait(source.attribution(scene, number, deep ? "integrated" : "gradient"), deep ? "A hundred passes" : "Looking back");
      if (asked !== key) return;
      found = scores;
      drawTables();
    } catch (error) {
      if (asked !== key) return;
      asked = "";
      context.fail(error);
      if (deep) {
        // The gradient alone may be there.
        deep = false;
        score();
        return;
      }
      found = null;
      for (const element of [sentence, tables, facts]) element.replaceChildren();
    } finally {
      if (asked === key || !asked) tables.removeAttribute("aria-busy");
    }
  }

  async function roll() {
    const number = output();
    const key = `${number} ${context.theme}`;
    if (key === rolling) return;
    rolling = key;
    try {
      const [row, received] = await Promise.all([source.rollout(scene, number), source.received(scene)]);
      if (rolling !== key) return;
      rolled = { output: number, row, received };
      drawStrips();
    } catch (error) {
      if (rolling !== key) return;
      rolling = "";
      rolled = null;
      strips.replaceChildren();
      context.fail(error);
    }
  }

  function drawTables() {
    if (!found) return;
    more.hidden = deep;
    kinds.show(coefficient);
    const depth = Math.max(0, ...Object.keys(found.correlation).map((name) => found[`attention.layers.${name}`]?.shape[0] ?? 0));
    told = context.state.layer;
    layer = told === null || depth < 2 ? "mean" : Math.min(told, depth - 1);
    layers.show(layer, [["mean", "all layers, their mean"], ...Array.from({ length: depth }, (_, i) => [String(i), `layer ${i + 1}`])]);
    layers.element.hidden = depth < 2;
    const parts = Object.keys(found.correlation).map((name) => section(name)).filter(Boolean);
    tables.replaceChildren(...parts);
    const said = sentenceOf();
    sentence.replaceChildren(...said);
    context.announce(sentence.textContent);
    facts.textContent = factsOf();
  }

  function sentenceOf() {
    const taken = scene.outputs?.taken[found.output] ?? axis.text[found.output];
    const token = tokenElement(taken);
    // The axis on which most can be compared.
    const [name, of] = Object.entries(found.correlation).sort((a, b) => b[1].tokens - a[1].tokens)[0] ?? [];
    const start = [token, ` has probability ${weightText(Math.exp(found.score))}. `];
    if (!of || of.spearman === null) return [...start, "Too few tokens are seen to compare their order."];
    const to = of.methods.includes("occlusion") ? "occlusion" : "gradient";
    const from = "attention";
    const at = [of.methods.indexOf(from), of.methods.indexOf(to)];
    if (at.includes(-1)) return start;
    const value = of[coefficient]?.[at[0]]?.[at[1]];
    const who = `${METHODS[from].title} and ${METHODS[to].title.toLowerCase()}`;
    const number = value === null || value === undefined ? "" : ` (${coefficient === "kendall" ? "Kendall’s τ" : "Spearman’s ρ"} ${signed(value)} over ${of.tokens} tokens)`;
    const own = found.of_output ? "" : " This output asks no attention itself: the attention shown is the mean over all positions.";
    return [...start, `${who} ${agreement(value)} which tokens of “${scene.axes[name].title}” come first${number}.${own}`];
  }

  function factsOf() {
    const said = [`Score: log-probability ${plain(found.score, 3)}.`];
    const complete = found.completeness;
    if (complete) {
      const gap = complete.sum - complete.difference;
      said.push(
        `Baseline: ${found.baseline}, with log-probability ${plain(complete.baseline_score, 2)}. Integrated gradients add up to ` +
          `${plain(complete.sum, 3)} of ${plain(complete.difference, 3)} (${signed(gap, 3)}, ${complete.passes} passes).`,
      );
    }
    const correlation = Object.values(found.correlation)[0];
    if (correlation) said.push("Correlations are of absolute values, over the tokens that the output sees.");
    return [...said, ...found.missing].join(" ");
  }

  // The table of one axis, and how its methods agree.
  function section(name) {
    const own = scene.axes[name];
    const methods = ORDER.filter((method) => numbersOf(method, name));
    if (!own || !methods.length) return null;
    const columns = methods.map((method) => ({ method, numbers: numbersOf(method, name) }));
    const seen = found[`seen.${name}`];
    const rows = chosenRows(columns, seen);
    const table = node("table", "beyond-table");
    const head = node("tr", "", node("td", "corner"));
    for (const { method } of columns) {
      const cell = node("th", "", METHODS[method].title);
      cell.scope = "col";
      cell.title = `${METHODS[method].is}; ${METHODS[method].not}.`;
      head.append(cell);
    }
    table.append(node("thead", "", head));
    const body = node("tbody");
    const special = new Set(own.special);
    const most = columns.map(({ numbers }) => largest(Array.from(numbers, (value) => (Number.isNaN(value) ? 0 : Math.abs(value)))));
    let last = -1;
    for (const row of rows) {
      if (row > last + 1) body.append(gap(columns.length + 1, row - last - 1));
      last = row;
      const line = node("tr", seen && !seen[row] ? "unseen-token" : "");
      const label = node("th", "", tokenElement(own.text[row], { special: special.has(row), most: 18 }));
      label.scope = "row";
      line.append(label);
      columns.forEach(({ method, numbers }, i) => line.append(measure(METHODS[method], numbers[row], most[i])));
      line.addEventListener("pointermove", (event) => context.tooltip.show(rowText(own, row, columns), event.clientX, event.clientY));
      line.addEventListener("pointerleave", () => context.tooltip.hide());
      body.append(line);
    }
    table.append(body);
    const scroll = node("div", "beyond-scroll", table);
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", `${own.title}: tokens and methods`);
    return node("section", "", node("h3", "", own.title), node("div", "beyond-pair", scroll, correlations(name)));
  }

  function numbersOf(method, name) {
    const all = found[`${method}.layers.${name}`];
    if (layer === "mean" || !all || !["attention", "norms"].includes(method)) return found[`${method}.${name}`];
    const [depth, length] = all.shape;
    const at = Math.min(layer, depth - 1);
    return all.subarray(at * length, (at + 1) * length);
  }

  function correlations(name) {
    const of = found.correlation[name];
    const matrix = of[coefficient];
    const caption = `Rank correlation over ${of.tokens} ${of.tokens === 1 ? "token" : "tokens"}`;
    if (!matrix) return node("p", "note", `${caption}: too few to compare.`);
    const methods = ORDER.filter((method) => of.methods.includes(method));
    const at = methods.map((method) => of.methods.indexOf(method));
    const table = node("table", "correlations");
    const few = of.tokens < FEW ? ": too few to mean much" : "";
    table.append(node("caption", "", caption + (layer === "mean" ? "" : ", of the mean of layers") + few));
    // Below the diagonal: the first method has no row, the last no column.
    methods.slice(1).forEach((method, i) => {
      const label = node("th", "", METHODS[method].title);
      label.scope = "row";
      const line = node("tr", "", label);
      methods.slice(0, i + 1).forEach((other, j) => {
        const value = matrix[at[i + 1]][at[j]];
        const cell = node("td", "number", value === null ? "–" : signed(value));
        if (value !== null) {
          cell.style.background = css("difference", (1 + value) / 2);
          cell.style.color = ink("difference", (1 + value) / 2);
        }
        cell.title = `${METHODS[method].title} and ${METHODS[other].title.toLowerCase()}`;
        line.append(cell);
      });
      table.append(line);
    });
    const foot = node("tr", "", node("td"));
    for (const method of methods.slice(0, -1)) foot.append(node("td", "foot", node("span", "", METHODS[method].short)));
    table.append(foot);
    return node("div", "correlations-scroll", table);
  }

  // Rollout through all layers as strips over the tokens.
  function drawStrips() {
    if (!rolled || !strips.isConnected) return;
    const width = Math.max(200, Math.min(container.clientWidth, 1100));
    const taken = scene.outputs?.taken[rolled.output] ?? axis.text[rolled.output];
    const heading = node("h3", "", "Rollout: where it may come from");
    const lead = node("p", "note", "The first strip is what ", tokenElement(taken), " draws from each token through all layers; the second, what all outputs together draw. It is made of weights alone: where information may flow, not what is made of it.");
    const parts = [];
    for (const name of Object.keys(rolled.row)) {
      const own = scene.axes[name];
      const numbers = rolled.row[name];
      if (!own || numbers.length !== own.text.length) continue;
      const sum = numbers.reduce((total, value) => total + value, 0);
      const title = node("p", "strip-title", own.title, node("span", "number", ` ${Math.round(sum * 100)} % of what it draws`));
      parts.push(node("div", "strip-group", title, stripOf(own, numbers, width, "of this output"), stripOf(own, rolled.received[name], width, "of all outputs")));
    }
    strips.replaceChildren(heading, lead, ...parts);
  }

  function stripOf(own, numbers, width, label) {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Rollout ${label} over ${own.title}`);
    const wide = Math.min(width - 4, numbers.length * 44);
    const size = wide / numbers.length;
    const texts = size >= 26;
    const drawing = fit(canvas, wide, texts ? 40 : 22);
    const most = largest(numbers) || 1;
    const colours = lookup("weights");
    const style = getComputedStyle(document.documentElement);
    drawing.font = `12px ${style.getPropertyValue("--serif")}`;
    drawing.textAlign = "center";
    numbers.forEach((value, i) => {
      const place = 4 * Math.round((255 * value) / most);
      drawing.fillStyle = `rgb(${colours[place]} ${colours[place + 1]} ${colours[place + 2]})`;
      drawing.fillRect(i * size, 0, Math.max(size - (size > 3 ? 1 : 0), 0.5), 20);
      if (!texts) return;
      drawing.fillStyle = style.getPropertyValue("--muted");
      drawing.fillText(cut(drawing, shown(own.text[i]), size - 3), (i + 0.5) * size, 35);
    });
    canvas.addEventListener("pointermove", (event) => {
      const i = Math.max(0, Math.min(numbers.length - 1, Math.floor(((event.clientX - canvas.getBoundingClientRect().left) / wide) * numbers.length)));
      context.tooltip.show(`${numbered(own, i)}: ${weightText(numbers[i])} ${label}`, event.clientX, event.clientY);
    });
    canvas.addEventListener("pointerleave", () => context.tooltip.hide());
    return canvas;
  }

  load();
  return {
    update: load,
    destroy() {
      asked = rolling = "gone"; // what is still being asked for is not shown, said or failed elsewhere
      resized.disconnect();
      context.tooltip.hide();
    },
  };
}

// The axis whose tokens are the outputs; where there are no scores, the one that the last layer writes.
function outputAxis(scene) {
  const { outputs } = scene;
  if (outputs && scene.axes[outputs.axis]) return { ...scene.axes[outputs.axis], text: outputs.taken };
  return scene.axes[scene.maps.at(-1).queries];
}

function firstOrdinary(axis) {
  const special = new Set(axis.special);
  return Math.max(0, axis.text.findIndex((_, number) => !special.has(number)));
}

function chosenRows(columns, seen) {
  const length = columns[0].numbers.length;
  const all = Array.from({ length }, (_, row) => row);
  // What comes after the output has nothing to tell.
  const known = seen ? all.filter((row) => seen[row]) : all;
  if (known.length <= ROWS) return known;
  const each = Math.ceil(ROWS / columns.length);
  const kept = new Set();
  for (const { numbers } of columns) {
    const size = (row) => (Number.isNaN(numbers[row]) ? 0 : Math.abs(numbers[row]));
    for (const row of [...known].sort((a, b) => size(b) - size(a)).slice(0, each)) kept.add(row);
  }
  return known.filter((row) => kept.has(row));
}

function gap(width, count) {
  const cell = node("td", "gap", `… ${count.toLocaleString("en")} more`);
  cell.colSpan = width;
  return node("tr", "", cell);
}

function measure(method, value, most) {
  const cell = node("td", method.signed ? "measure signed" : "measure");
  if (Number.isNaN(value)) {
    cell.classList.add("unknown");
    cell.textContent = "–";
    return cell;
  }
  const share = most > 0 ? Math.abs(value) / most : 0;
  const fill = node("span", value < 0 ? "against" : method.signed ? "for" : "");
  fill.style.width = `${(method.signed ? 50 : 100) * share}%`;
  const number = node("span", "unseen", method.signed ? signed(value, 3) : weightText(value));
  cell.append(fill, number);
  return cell;
}

function rowText(axis, row, columns) {
  const list = node("dl", "beyond-tip", node("dt", "", numbered(axis, row)), node("dd"));
  for (const { method, numbers } of columns) {
    const value = numbers[row];
    const text = Number.isNaN(value) ? "not taken" : METHODS[method].signed ? signed(value, 4) : weightText(value);
    list.append(node("dt", "", METHODS[method].title), node("dd", "number", text));
  }
  return list;
}

function legendOf(names) {
  const list = node("dl", "methods");
  for (const name of names) {
    const { title, is, not } = METHODS[name];
    list.append(node("dt", "", title), node("dd", "", `${is[0].toUpperCase()}${is.slice(1)}; `, node("em", "", not), "."));
  }
  const details = node("details", "", node("summary", "", "What each of these is, and is not"), list);
  return details;
}

function plain(value, digits) {
  return value.toFixed(digits).replace("-", "−");
}

function signed(value, digits = 2) {
  const text = Math.abs(value).toFixed(digits);
  return Number(text) === 0 ? text : (value < 0 ? "−" : "+") + text;
}

function cut(drawing, text, width) {
  if (drawing.measureText(text).width <= width) return text;
  const signs = Array.from(text);
  while (signs.length > 1 && drawing.measureText(signs.join("") + "…").width > width) signs.pop();
  return signs.join("") + "…";
}
