// One query explained: its vector, the keys, their products number by number, the sum, softmax, and the values it
// brings home. A dimension that is pointed at is followed through all of them; the steps can be gone through one by one.

import { headChooser, mapChooser, tokenChooser } from "./choosers.js";
import { button, node } from "./controls.js";
import { buildTable } from "./arithmetic_table.js";
import { formulaOf } from "./formulas.js";
import { chosen } from "./state.js";
import { mapTitle, shorten, shown } from "./tokens.js";

export const view = {
  name: "arithmetic",
  title: "Arithmetic",
  hint: "One query of one head, number by number: products, sums, softmax, values.",
  available(scene, source) {
    if (!source.can.arithmetic) return "A saved page does not carry the vectors that this is made of; open the model with heedful view.";
    if (!scene.maps.some((map) => map.arithmetic)) return "This model does not say what its weights are made of.";
    return true;
  },
  mount,
};

function mount(container, context) {
  const { scene, source } = context;
  const maps = mapChooser(context, (map) => map.arithmetic);
  const heads = headChooser(context, false);
  const queries = tokenChooser({ label: "Query", choose: (query) => context.set({ query, key: null }) });
  const formula = node("p", "formula-line");
  const words = node("p", "note");
  const teach = node("div", "teach");
  teach.hidden = true;
  const caption = node("p", "stage-words");
  caption.setAttribute("aria-live", "polite");
  const readout = node("p", "readout");
  const holder = node("div", "arithmetic-holder");
  const back = button("Back", () => go(stage - 1));
  const next = button("Next", () => go(stage + 1));
  const all = button("Step through", () => go(stage === null ? 0 : null));
  teach.append(back, next, caption);
  container.append(
    node("div", "controls", maps.element, heads.element, all),
    node("div", "asking", node("span", "asking-label", "Query"), queries.element),
    node("div", "explained", formula, words),
    teach,
    readout,
    holder,
  );

  let asked = "";
  let table = null; // what is shown, see buildTable
  let stage = null; // null: all of them

  async function load() {
    const { number, map, head } = where();
    const query = queryOf(map);
    maps.update();
    heads.update();
    queries.update(scene.axes[map.queries], query);
    if (!map.arithmetic) {
      asked = "";
      table = null;
      holder.replaceChildren(node("p", "why-not", `The vectors of ${mapTitle(map)} are not known; choose another attention.`));
      return;
    }
    const wanted = `${number} ${head} ${query} ${context.theme}`;
    if (wanted === asked) {
      table?.choose(context.state.key);
      if (context.state.stage !== stage) reveal(context.state.stage);
      return;
    }
    asked = wanted;
    holder.setAttribute("aria-busy", "true");
    try {
      const told = await context.wait(source.arithmetic(scene, number, head, query), "Multiplying");
      if (wanted === asked) draw(told, map, head, query);
    } catch (error) {
      if (wanted !== asked) return;
      asked = "";
      context.fail(error);
    } finally {
      holder.removeAttribute("aria-busy");
    }
  }

  function draw(told, map, head, query) {
    context.fail(null);
    const { formula: line, words: said } = formulaOf(told.kind, told.steps, told.factor);
    formula.replaceChildren(line);
    words.textContent = said;
    table = buildTable(told, {
      query: scene.axes[map.queries],
      keys: scene.axes[map.keys],
      number: query,
      say: (content) => readout.replaceChildren(content),
      choose: (key) => context.set({ key }),
    });
    holder.replaceChildren(table.element);
    table.choose(context.state.key);
    reveal(context.state.stage);
    const best = table.best;
    const name = shorten(shown(scene.axes[map.queries].text[query] ?? ""), 30);
    context.announce(`${mapTitle(map, head)}, query ${name}. ${best}`);
  }

  // To one of the steps, here and in the address; null: all of them.
  function go(to) {
    if (table) context.set({ stage: to === null ? null : Math.max(0, Math.min(to, table.stages.length - 1)) });
  }

  // Shows the steps up to one of them; null: all.
  function reveal(to) {
    if (!table) return;
    stage = to === null ? null : Math.max(0, Math.min(to, table.stages.length - 1));
    table.reveal(stage);
    teach.hidden = stage === null;
    back.disabled = stage === 0;
    next.disabled = stage === table.stages.length - 1;
    all.textContent = stage === null ? "Step through" : "Show all";
    caption.replaceChildren(
      ...(stage === null
        ? []
        : [node("span", "count", `${stage + 1} of ${table.stages.length}`), " ", table.stages[stage]]),
    );
  }

  function where() {
    const found = chosen(scene, context.state);
    return { ...found, head: found.head === "mean" ? 0 : found.head };
  }

  // Without a choice, the first word: <s> and separators tell little.
  function queryOf(map) {
    const [count] = map.shape;
    const { query } = context.state;
    if (query !== null) return Math.max(0, Math.min(query, count - 1));
    const special = new Set(scene.axes[map.queries].special);
    const first = Array.from({ length: Math.min(count, 64) }, (_, i) => i).find((i) => !special.has(i));
    return first ?? 0;
  }

  // The keys of the page are for all views; these are the arithmetic's own.
  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !table) return;
    if (event.target.closest?.("input, textarea, select, dialog, [role=tab]")) return;
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step && event.shiftKey) table.move(step);
    else if (step) queries.move(step);
    else if (event.key === "ArrowDown") context.set({ key: table.beside(1) });
    else if (event.key === "ArrowUp") context.set({ key: table.beside(-1) });
    else if (event.key === "Escape") {
      table.point(null);
      context.set({ key: null });
    } else if (event.key === "n") go(stage === null ? 0 : stage + 1);
    else if (event.key === "b" && stage !== null) go(stage - 1);
    else return;
    event.preventDefault();
  }
  addEventListener("keydown", pressed);

  reveal(null);
  load();
  return {
    update: load,
    destroy() {
      asked = "gone";
      removeEventListener("keydown", pressed);
    },
  };
}
