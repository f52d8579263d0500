// Compare: two maps beside each other, and what differs: two heads, layers, texts, models, or checkpoints of a run.
//
// The left side is what the rest of the page looks at; the right side is `other` in the address, and begins with the next
// head. Queries and keys are put together by their common tokens (heedful/viewing/comparison.py); what one side does
// not have is hatched. No weight is divided anew.

import { drawSide, largestKnown } from "./compare_drawing.js";
import { css } from "./colors.js";
import { button, menu, node } from "./controls.js";
import { sidePicker } from "./compare_pickers.js";
import { layerChart } from "./layer_chart.js";
import { addressOf, moved, named } from "./state.js";
import { mapTitle, shown, weightText } from "./tokens.js";

// More words are neither drawn nor offered, but for the one that is looked at.
const WORDS = 400;

export const view = {
  name: "compare",
  title: "Compare",
  hint: "Two heads, layers, texts or models, and the difference of their maps.",
  available: () => true,
  mount,
};

function mount(container, context) {
  const { source } = context;
  const left = node("section", "compare-side");
  const right = node("section", "compare-side");
  const swap = button("⇄", exchange, "Change sides");
  swap.setAttribute("aria-label", "Change sides");
  const verdict = node("p", "compare-verdict");
  const note = node("p", "note number");
  const figures = ["left", "right", "difference"].map((name) => {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    const title = node("h3", "", name === "difference" ? "Right less left" : "");
    return { name, canvas, title, element: node("figure", `compare-map of-${name}`, title, node("div", "compare-scroll", canvas)) };
  });
  const scale = differenceScale();
  figures[2].element.append(scale.element);
  const maps = node("div", "compare-maps", ...figures.map(({ element }) => element));
  const curve = node("section", "compare-curve");
  const word = menu("Word", null, (value) => context.set({ word: Number(value) }));
  container.append(
    node("div", "compare-pickers", left, node("div", "compare-swap", swap), right),
    verdict,
    note,
    maps,
    curve,
  );

  let models = [];
  let sides = null; // what is to be compared: [{scene, model, map, number, head}, ...]
  let told = null; // what was compared, and is seen
  let drawn = null; // the sides of it
  let asked = "";
  let pointed = null;
  let followed = null; // what the address said of the word that is drawn
  const pickers = [sidePicker(left, "Left"), sidePicker(right, "Right")];
  const resized = new ResizeObserver(() => draw());
  resized.observe(container);

  for (const { canvas } of figures) {
    canvas.addEventListener("pointermove", (event) => point(event, canvas));
    canvas.addEventListener("pointerleave", () => {
      pointed = null;
      context.tooltip.hide();
      draw();
    });
    canvas.addEventListener("click", () => {
      if (!pointed || !told) return;
      const word = wordAt(pointed);
      if (word !== undefined) context.set({ word });
    });
  }

  async function load() {
    const key = JSON.stringify([context.scene.id, context.state.map, context.state.head, context.state.other, context.theme]);
    if (key === asked) {
      if (told && context.state.word !== followed) drawCurve();
      return;
    }
    asked = key;
    try {
      models = (await source.models()).models;
      if (key !== asked) return;
      const one = leftSide();
      const two = await rightSide(one);
      if (key !== asked) return;
      sides = [one, two];
      pick();
      const found = await context.wait(source.compare(...compared(...sides)), "Comparing");
      if (key !== asked) return;
      [told, drawn, pointed] = [found, sides, null];
      context.fail(null);
      maps.hidden = false;
      draw();
      drawCurve();
      say();
    } catch (error) {
      if (key !== asked) return;
      asked = "";
      clear();
      context.fail(error);
    }
  }

  // What was seen belongs to other sides than are chosen now.
  function clear() {
    [told, drawn, pointed] = [null, null, null];
    maps.hidden = true;
    for (const element of [verdict, note, curve]) element.replaceChildren();
    context.tooltip.hide();
  }

  function leftSide() {
    return side(context.scene, context.state.map, context.state.head);
  }

  async function rightSide(one) {
    const { other } = context.state;
    if (!other) return besides(one);
    const model = named(models, other.model) ?? models.find((each) => each.id === one.scene.model);
    const given = Object.values(other.texts ?? {}).some(Boolean);
    const asks = new Set(model.asks.map(({ name }) => name));
    const texts = Object.fromEntries(Object.entries(given ? other.texts : one.scene.texts).filter(([name, text]) => text && asks.has(name)));
    const same = model.id === one.scene.model && JSON.stringify(texts) === JSON.stringify(plainTexts(one.scene));
    const scene = same ? one.scene : await context.wait(source.open({ model: model.id, texts }), "The model reads");
    return side(scene, other.map ?? one.map.name, other.head);
  }

  // What a side is set beside, as long as nothing is chosen; heedful/viewing/saved.py keeps the same pairs.
  function besides({ scene, map, head, number }) {
    // A saved page with two scenes was made to set them side by side.
    const second = source.scenes?.find(({ id }) => id !== scene.id);
    if (second) return side(second, map.name, head);
    // What a person mostly wants to know first: what the next head does.
    if (map.heads > 1) return side(scene, map.name, head === "mean" ? 0 : (head + 1) % map.heads);
    return side(scene, scene.maps[(number + 1) % scene.maps.length].name, 0);
  }

  function compared(...two) {
    return two.map(({ scene, number, head }) => ({ scene, map: number, head }));
  }

  // The left side with another map or head keeps the right one, or takes its own with it.
  function offered(i, { map, head }) {
    const next = side(sides[i].scene, map, head);
    const can = (...two) => source.compares(...compared(...two));
    return i === 1 ? can(sides[0], next) : can(next, sides[1]) || can(next, besides(next));
  }

  function pick() {
    sides.forEach((one, i) => {
      pickers[i].show({
        models: source.can.open ? models : [],
        side: one,
        editable: i === 1 && source.can.open,
        offered: (patch) => offered(i, patch),
        change: (patch) => change(i, patch),
      });
    });
  }

  function change(i, patch) {
    if (i === 0) {
      const next = side(sides[0].scene, patch.map ?? sides[0].map.name, patch.head ?? sides[0].head);
      const keeps = source.compares(...compared(next, sides[1]));
      return context.set({ ...moved(sides[0].map, next.map, next.head), ...(keeps ? {} : { other: null }) });
    }
    // A word is a number among those of two texts.
    const anew = "texts" in patch || "model" in patch ? { word: null } : {};
    const model = "model" in patch ? { model: addressOf(modelOf(patch.model), models) } : {};
    context.set({ ...anew, other: { ...asOther(sides[1], context.scene), ...patch, ...model } });
  }

  // How the address has a side beside one of another scene.
  function asOther({ scene, model, map, head }, beside) {
    const same = scene.id === beside.id;
    return { model: same ? null : addressOf(modelOf(model), models), texts: same ? {} : plainTexts(scene), map: map.name, head };
  }

  function modelOf(id) {
    return models.find((each) => each.id === id);
  }

  function exchange() {
    if (!sides) return;
    const [one, two] = sides;
    const same = one.scene.id === two.scene.id;
    const whole = same ? {} : { model: addressOf(modelOf(two.model), models), texts: plainTexts(two.scene) };
    context.set({ ...whole, ...moved(one.map, two.map, two.head), other: asOther(one, two.scene) });
  }

  function side(scene, name, head) {
    const number = Math.max(0, scene.maps.findIndex((map) => map.name === name) >= 0 ? scene.maps.findIndex((map) => map.name === name) : scene.maps.findIndex((map) => map.group === "cross"));
    const map = scene.maps[number];
    const own = head === "mean" && map.heads > 1 ? "mean" : Math.min(Number(head) || 0, map.heads - 1);
    return { scene, model: scene.model, map, number, head: own };
  }

  function draw() {
    if (!told || !container.isConnected) return;
    const most = Math.max(largestKnown(told.left), largestKnown(told.right));
    const apart = largestKnown(told.difference);
    const unlike = drawn[0].scene.id !== drawn[1].scene.id;
    for (const figure of figures) {
      const difference = figure.name === "difference";
      if (!difference) figure.title.textContent = `${figure.name === "left" ? "Left" : "Right"}: ${nameOf(drawn[figure.name === "left" ? 0 : 1], unlike)}`;
      figure.at = drawSide(figure.canvas, {
        values: told[figure.name],
        rows: told.row_text,
        columns: told.column_text,
        most: difference ? apart : most,
        scale: difference ? "difference" : "weights",
        track: difference ? told.divergence : null,
        width: figure.element.clientWidth,
        cells: told.cells,
        pointed,
        rowsOf: told.queries,
        columnsOf: told.keys,
      });
    }
    scale.show(apart);
  }

  function nameOf({ scene, map, head }, unlike) {
    const title = mapTitle(map, head);
    const text = Object.values(scene.texts).find(Boolean) ?? "";
    return unlike && models.length > 1 && drawn[0].model !== drawn[1].model ? `${modelOf(scene.model)?.folder_name || scene.title}, ${title}` : unlike ? `${title} · “${text.length > 40 ? `${text.slice(0, 39)}…` : text}”` : title;
  }

  function point(event, canvas) {
    const figure = figures.find((each) => each.canvas === canvas);
    const box = canvas.getBoundingClientRect();
    const next = figure.at?.(event.clientX - box.left, event.clientY - box.top) ?? null;
    if (next?.row !== pointed?.row || next?.column !== pointed?.column) {
      pointed = next;
      draw();
    }
    if (!next) return context.tooltip.hide();
    context.tooltip.show(tip(next), event.clientX, event.clientY);
  }

  function tip({ row, column }) {
    const [tall, wide] = told.cells;
    const across = told.left.shape[1];
    const list = node("dl", "beyond-tip");
    const put = (name, value) => list.append(node("dt", "", name), node("dd", "number", value));
    const first = row * tall;
    const query = `${shown(told.row_text[first] ?? "")}${tall > 1 ? ` … ${shown(told.row_text[Math.min(first + tall, told.row_text.length) - 1])}` : ""}`;
    if (column === null) {
      put(query, "");
      put("Divergence", `${told.divergence[first].toFixed(3)} bits`);
      put("Cosine", weightText(told.cosine[first]));
      put("Rank correlation", weightText(told.rank[first]));
      put("Only on the left", weightText(told.only_left[first]));
      put("Only on the right", weightText(told.only_right[first]));
      return list;
    }
    const key = wide === 1 ? shown(told.column_text[column]) : `keys ${column * wide} to ${Math.min((column + 1) * wide, told.keys.shape[0]) - 1}`;
    put(`${query} → ${key}`, "");
    const at = row * across + column;
    const known = (value) => (Number.isNaN(value) ? "not there" : weightText(value));
    put(tall > 1 || wide > 1 ? "Left, mean" : "Left", known(told.left[at]));
    put(tall > 1 || wide > 1 ? "Right, mean" : "Right", known(told.right[at]));
    if (!Number.isNaN(told.difference[at])) put(tall > 1 || wide > 1 ? "Largest difference" : "Difference", `${told.difference[at] < 0 ? "−" : "+"}${weightText(Math.abs(told.difference[at]))}`);
    return list;
  }

  function say() {
    const { summary } = told;
    const { queries, keys } = told.common;
    const unit = told.level === "words" ? "words" : "tokens";
    if (!queries.both || summary.divergence === null) {
      verdict.textContent = `The two sides have no ${unit} in common: nothing can be compared row by row.`;
    } else {
      const much = summary.divergence < 0.02 ? "almost the same" : summary.divergence < 0.15 ? "alike" : summary.divergence < 0.4 ? "different" : "very different";
      verdict.textContent = `The two look ${much}: their rows are ${summary.divergence.toFixed(2)} bits apart on average (0: the same, 1: nothing in common).`;
    }
    const parts = [];
    if (summary.cosine !== null) parts.push(`Mean cosine ${summary.cosine.toFixed(2)}${summary.rank === null ? "" : `, rank correlation ${summary.rank.toFixed(2)}`}.`);
    const alone = queries.left + queries.right + keys.left + keys.right;
    if (alone) {
      parts.push(
        `Put together by ${unit}: ${queries.both} queries and ${keys.both} keys are common. ` +
          `${percent(summary.only_left)} of the left’s attention and ${percent(summary.only_right)} of the right’s go to keys that the other has not; nothing is renormalised.`,
      );
    }
    if (told.sampled) parts.push(`Of the queries, ${told.row_text.length.toLocaleString("en")} were taken, evenly.`);
    if (told.cells[0] > 1 || told.cells[1] > 1) parts.push(`A cell stands for ${told.cells[0]} × ${told.cells[1]} weights: means on both sides, the largest difference either way.`);
    note.textContent = parts.join(" ");
    context.announce(`${verdict.textContent} ${note.textContent}`);
    figures.forEach(({ canvas, name }) => canvas.setAttribute("aria-label", name === "difference" ? `Difference. ${verdict.textContent}` : `${name} map`));
  }

  // On which axis words can be followed through the layers, if any.
  function movedKind() {
    return told["moved.queries"] ? "queries" : told["moved.keys"] ? "keys" : null;
  }

  // The words that both sides have, by number.
  function bothSides(kind) {
    const cosines = told[`moved.${kind}`];
    return Array.from({ length: cosines.shape[1] }, (_, unit) => unit).filter((unit) => !Number.isNaN(cosines[unit]));
  }

  // The first word of a cell that both sides have: of long texts a cell stands for several.
  function wordAt({ row, column }) {
    const kind = movedKind();
    const cell = kind === "queries" ? row : column;
    if (!kind || cell === null) return undefined;
    const size = told.cells[kind === "queries" ? 0 : 1];
    return bothSides(kind).find((unit) => unit >= cell * size && unit < (cell + 1) * size);
  }

  // How a word's vector moves with its context, layer by layer.
  function drawCurve() {
    const focused = word.element.contains(document.activeElement);
    followed = context.state.word;
    curve.replaceChildren();
    const kind = movedKind();
    if (!kind) {
      if (drawn[0].scene.id === drawn[1].scene.id) return;
      const why = told.moved.same_model
        ? "The vectors of these layers are not known, so how words move with their context is not shown."
        : "The two sides are two models: their vectors lie in two spaces, and cosines between them would tell nothing.";
      curve.append(node("p", "note", why));
      return;
    }
    const cosines = told[`moved.${kind}`];
    const [layers, units] = cosines.shape;
    const names = kind === "queries" ? told.row_text : told.column_text;
    const both = bothSides(kind);
    if (!both.length || !names) return;
    // At first the one that moves most.
    const chosenWord = both.includes(followed) ? followed : both.reduce((best, unit) => (cosines[(layers - 1) * units + unit] < cosines[(layers - 1) * units + best] ? unit : best));
    const words = both.slice(0, WORDS);
    if (!words.includes(chosenWord)) words.push(chosenWord);
    word.show(chosenWord, words.map((unit) => [String(unit), shown(names[unit])]));
    const series = words.map((unit) => ({ name: names[unit], chosen: unit === chosenWord, values: Array.from({ length: layers }, (_, layer) => cosines[layer * units + unit]) }));
    const own = series.find(({ chosen }) => chosen);
    const last = own.values.at(-1);
    curve.append(
      node("h3", "", "How words move with their context"),
      node("div", "controls", word.element),
      layerChart(series, Math.min(560, container.clientWidth), context.tooltip),
      node("p", "note", `The cosine between the two vectors of a word, one from each text, in every layer. “${shown(own.name)}” begins at ${own.values[0].toFixed(2)} and ends at ${last.toFixed(2)}; the other words that both texts have are drawn pale.`),
    );
    if (focused) word.element.querySelector("select").focus();
  }

  load();
  return {
    update: load,
    destroy() {
      asked = "gone"; // what is still being asked for is not shown, said or failed elsewhere
      resized.disconnect();
      context.tooltip.hide();
    },
  };
}

function plainTexts(scene) {
  return Object.fromEntries(Object.entries(scene.texts).filter(([, text]) => text));
}

function percent(share) {
  return `${((share ?? 0) * 100).toFixed(1)} %`;
}

function differenceScale() {
  const bar = node("span", "difference-bar");
  const ends = [node("span", "number"), node("span", "number")];
  const element = node("figcaption", "difference-scale", ends[0], bar, ends[1]);
  return {
    element,
    show(most) {
      const stops = Array.from({ length: 9 }, (_, i) => css("difference", i / 8));
      bar.style.background = `linear-gradient(90deg, ${stops.join(", ")})`;
      ends[0].textContent = `left looks more (−${weightText(most)})`;
      ends[1].textContent = `right looks more (+${weightText(most)})`;
    },
  };
}
