// Who looks at whom, as links between two lines of tokens; and below, how the text was written, token by token.

import { headChooser, mapChooser, withoutChooser } from "./choosers.js";
import { category } from "./colors.js";
import { button, choice, node, tick } from "./controls.js";
import { mountForced } from "./forced.js";
import { mountGrowth } from "./growth.js";
import { rowsOf, rowsOfUnits, strongest, units } from "./top_links.js";
import { drawLinks } from "./links_picture.js";
import { chosen } from "./state.js";
import { mapTitle, shorten, shown, weightText } from "./tokens.js";
import { takenOut, takenOutWords } from "./without.js";

// More tokens than these are not drawn at once.
const QUERIES = 48;
const KEYS = 72;
const LINKS = 1200;
// More heads than these are not told apart by colour.
const COLOURS = 8;

export const view = {
  name: "lines",
  title: "Lines",
  hint: "Tokens with links between them; the text as it is written.",
  available: (scene) => scene.maps.length > 0 || "Nothing in this model attends.",
  mount,
};

function mount(container, context) {
  const { scene, source } = context;
  const maps = mapChooser(context);
  const heads = headChooser(context, true);
  const kinds = choice("Units", [["0", "tokens"], ["1", "words"]], (value) => context.set({ words: Number(value), query: null, key: null }));
  const apart = tick("each head its colour", () => load());
  const slider = node("input");
  Object.assign(slider, { type: "range", min: 0.1, max: 1, step: 0.05 });
  slider.addEventListener("input", () => context.set({ p: Number(slider.value) }));
  const mass = node("span", "number");
  const most = node("label", "", node("span", "", "Links with"), slider, mass);
  most.title = "Of each query, the fewest links that have so much of its attention.";
  const out = withoutChooser(context);
  const legend = node("div", "legend");
  const earlier = button("‹ earlier", () => shift(-1));
  const later = button("later ›", () => shift(1));
  const part = node("span", "part");
  const window_ = node("div", "window", earlier, part, later);
  const note = node("p", "note"); // how far the links are not simply all weights
  const holder = node("div", "links-holder");
  const told = node("p", "links-told");
  told.setAttribute("aria-live", "polite");
  const more = node("div", "writing");
  container.append(
    node("div", "controls", maps.element, heads.element, apart.element, kinds.element, most, ...out.elements),
    legend,
    window_,
    note,
    told,
    holder,
    more,
  );
  const forced = mountForced(more, context);
  const growth = mountGrowth(more, context);

  let asked = "";
  let picture = null;
  let drawn = null; // {queries, keys, map}
  let looking = null; // [kind, place], while a token is pointed at
  let gone = false;

  async function load() {
    const { state } = context;
    const { number, map, head } = chosen(scene, state);
    maps.update();
    heads.update();
    kinds.show(String(state.words ? 1 : 0));
    slider.value = state.p;
    mass.textContent = `${Math.round(100 * state.p)} %`;
    const severally = apart.box.checked && head === "mean" && map.heads <= COLOURS;
    out.update(scene.axes[map.keys]);
    apart.element.hidden = head !== "mean" || map.heads > COLOURS;
    const queries = units(scene.axes[map.queries], state.words);
    const keys = units(scene.axes[map.keys], state.words);
    const first = firstOf(queries, state.query);
    const wanted = JSON.stringify([number, head, severally, state.words, state.p, state.without, first, context.theme]);
    if (wanted === asked) {
      fix();
      return;
    }
    asked = wanted;
    const some = queries.slice(first, first + QUERIES).map((unit, i) => ({ ...unit, unit: first + i }));
    const span = [some[0].tokens[0], some.at(-1).tokens.at(-1) + 1];
    const which = severally ? Array.from({ length: map.heads }, (_, i) => i) : [head];
    let rows;
    try {
      rows = await context.wait(
        Promise.all(which.map((one) => rowsOf(source, scene, number, one, span, state.without))),
        "Weighing",
      );
    } catch (error) {
      if (wanted !== asked) return;
      asked = "";
      context.fail(error);
      return;
    }
    if (wanted !== asked || gone) return;
    context.fail(null);
    let short = 0;
    const links = rows.flatMap((one, i) =>
      rowsOfUnits(one, span[0], some, keys).flatMap((row, query) => {
        const best = strongest(row, state.p);
        if (best.short) short += 1;
        return best.map(([key, weight]) => ({ query, key, weight, colour: severally ? category(i) : "var(--accent)" }));
      }),
    );
    const said = [];
    if (takenOut(scene, map, state.without).size) said.push(`Without ${takenOutWords(state.without)}: what is left of each query adds up to 1.`);
    if (short) said.push(`Of ${short.toLocaleString("en")} of these queries only the largest weights are known here; together they have less than ${mass.textContent}.`);
    note.hidden = !said.length;
    note.textContent = said.join(" ");
    draw(map, some, keys, links);
    legend.hidden = !severally;
    legend.replaceChildren(
      ...(severally
        ? which.map((one) => {
            const swatch = node("button", "swatch", node("i"), `head ${one + 1}`);
            swatch.type = "button";
            swatch.firstChild.style.background = category(one);
            swatch.addEventListener("click", () => context.set({ head: one }));
            return swatch;
          })
        : []),
    );
    window_.hidden = queries.length <= QUERIES;
    part.textContent = `${titleOf(map.queries)} ${(first + 1).toLocaleString("en")}–${(first + some.length).toLocaleString("en")} of ${queries.length.toLocaleString("en")}`;
    earlier.disabled = first === 0;
    later.disabled = first + QUERIES >= queries.length;
  }

  // Of a long text the keys that are linked stand under each other, with gaps where others are left out.
  function draw(map, some, keys, links) {
    let shownKeys = keys.map((_, i) => i);
    if (keys.length > KEYS) {
      const got = new Map();
      for (const { key, weight } of links) got.set(key, (got.get(key) ?? 0) + weight);
      const best = [...got].sort(([, one], [, other]) => other - one).slice(0, KEYS);
      shownKeys = best.map(([key]) => key).sort((one, other) => one - other);
    }
    const places = new Map(shownKeys.map((key, place) => [key, place]));
    const column = shownKeys.map((key, place) => ({ ...keys[key], unit: key, gap: place > 0 && shownKeys[place - 1] !== key - 1 }));
    let kept = links.filter(({ key }) => places.has(key)).map((link) => ({ ...link, key: places.get(link.key) }));
    if (kept.length > LINKS) kept = kept.sort((one, other) => other.weight - one.weight).slice(0, LINKS);
    drawn = { queries: some, keys: column, map };
    picture?.destroy();
    looking = null;
    picture = drawLinks(holder, {
      queries: some,
      keys: column,
      links: kept,
      titles: { query: titleOf(map.queries), key: map.queries === map.keys ? "the same, looked at" : titleOf(map.keys) },
      choose(kind, place) {
        const token = (kind === "query" ? some : column)[place].tokens[0];
        const other = kind === "query" ? "key" : "query";
        looking = null;
        context.set({ [kind]: context.state[kind] === token && isFixed(kind) ? null : token, [other]: null });
      },
      look(kind, place) {
        looking = place === null ? null : [kind, place];
        show();
      },
    });
    fix();
  }

  // A key stands before a query: whoever chose one last let go of the other.
  function fixed() {
    const { query, key } = context.state;
    for (const [kind, token, list] of [["key", key, drawn.keys], ["query", query, drawn.queries]]) {
      if (token === null) continue;
      const place = list.findIndex(({ tokens }) => tokens.includes(token));
      if (place >= 0) return [kind, place];
    }
    return null;
  }

  function isFixed(kind) {
    return fixed()?.[0] === kind;
  }

  function fix() {
    if (!picture) return;
    picture.fix(...(fixed() ?? [null, null]));
    show();
  }

  function show() {
    const [kind, place] = looking ?? fixed() ?? [null, null];
    const sums = picture.alone(kind, place);
    if (kind === null) {
      told.textContent = "Point at a token to see its links alone; click to keep them.";
      return;
    }
    const name = (list, i) => `“${shorten(shown(list[i].text), 24)}”`;
    const [own, others] = kind === "query" ? [drawn.queries, drawn.keys] : [drawn.keys, drawn.queries];
    const best = [...sums].sort(([, one], [, other]) => other - one).slice(0, 4);
    const list = best.map(([i, weight]) => `${name(others, i)} ${weightText(weight)}`).join(", ");
    const verb = kind === "query" ? "looks at" : "is looked at by";
    told.textContent = list ? `${name(own, place)} ${verb} ${list}.` : `No link of ${name(own, place)} is drawn.`;
  }

  // A window that has the query in it, and moves by halves.
  let first_ = 0;
  function firstOf(queries, query) {
    const last = Math.max(0, queries.length - QUERIES);
    const place = query === null ? -1 : queries.findIndex(({ tokens }) => tokens.includes(query));
    if (place >= 0 && (place < first_ || place >= first_ + QUERIES)) first_ = place - QUERIES / 2;
    first_ = Math.max(0, Math.min(Math.floor(first_), last));
    return first_;
  }

  function shift(step) {
    first_ += (step * QUERIES) / 2;
    context.set({ query: null, key: null });
    load();
  }

  function titleOf(axis) {
    return scene.axes[axis].title;
  }

  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !drawn) return;
    if (event.target.closest?.("input, textarea, select, dialog, [role=tab], .growth")) return;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      const [kind, place] = looking ?? fixed() ?? ["query", step > 0 ? -1 : 1];
      const list = kind === "query" ? drawn.queries : drawn.keys;
      const next = list[Math.max(0, Math.min(place + step, list.length - 1))];
      looking = null;
      context.set({ [kind]: next.tokens[0], [kind === "query" ? "key" : "query"]: null });
    } else if (event.key === "Escape") context.set({ query: null, key: null });
    else return;
    event.preventDefault();
  }
  addEventListener("keydown", pressed);
  load().then(() => {
    const { map, head } = chosen(scene, context.state);
    if (!gone) context.announce(`${mapTitle(map, head)}: links between ${titleOf(map.queries)} and ${titleOf(map.keys)}.`);
  });

  return {
    update: load,
    destroy() {
      gone = true;
      asked = "gone";
      picture?.destroy();
      growth.destroy();
      forced.destroy();
      removeEventListener("keydown", pressed);
    },
  };
}
