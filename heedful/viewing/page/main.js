// The page around the views: what is asked of the model, what it answered, and which view is looked through.
//
// A view is a module that exports
//
//   export const view = {
//     name, title, hint,                        hint: one sentence
//     available(scene, source),                 true, or one sentence why not
//     mount(container, context),                gives {update(state), destroy()}
//   }
//
// and gets, as context,
//
//   source, scene, theme, state               theme: "light" or "dark"; scene: the manifest
//   set(patch)                                changes state and address
//   announce(text)                            for screen readers
//   fail(error)                               says what went wrong, above the view
//   wait(promise, words)                      shows that something takes time; gives the promise back
//   tooltip                                   {show(node or text, x, y), hide()}

import { view as alignment } from "./alignment.js";
import { createAnswer } from "./answer.js";
import { view as arithmetic } from "./arithmetic.js";
import { view as beyond } from "./beyond.js";
import { setTheme } from "./colors.js";
import { view as compare } from "./compare.js";
import { createForm } from "./form.js";
import { createHelp } from "./help.js";
import { view as lines } from "./lines.js";
import { view as map } from "./map.js";
import { view as overview } from "./overview.js";
import { createProgress } from "./progress.js";
import { ServerSource } from "./source.js";
import { addressOf, beside, createStore, named, tooLong } from "./state.js";
import { createTabs } from "./tabs.js";
import { createTooltip } from "./tooltip.js";

const VIEWS = [overview, map, lines, arithmetic, compare, beyond, alignment];

const part = (id) => document.getElementById(id);

export async function start(source) {
  const store = createStore();
  const tooltip = createTooltip();
  const progress = createProgress(part("progress"));
  const answer = createAnswer(part("answer"), part("footer"));
  const help = createHelp(part("help"));
  const tabs = createTabs(part("tabs"), part("view"), VIEWS, (name) => store.set({ view: name }));
  const dark = matchMedia("(prefers-color-scheme: dark)");

  let told = { models: [], opened: null };
  let form = null;
  let asked = null; // what the scene was asked for, or is being
  let scene = null;
  let mounted = null; // {name, scene, shown: {update, destroy}}
  let theme = null;

  const context = {
    source,
    get scene() {
      return scene;
    },
    get state() {
      return store.state;
    },
    get theme() {
      return theme;
    },
    set: store.set,
    announce,
    fail,
    wait: progress.wait,
    tooltip,
  };

  function announce(text) {
    part("announce").textContent = text;
  }

  function fail(error) {
    const element = part("error");
    element.hidden = !error;
    element.textContent = error ? error.message || String(error) : "";
  }

  function paint() {
    const next = store.state.theme ?? (dark.matches ? "dark" : "light");
    if (next === theme) return;
    theme = next;
    setTheme(theme);
    document.documentElement.dataset.theme = theme;
    const other = theme === "dark" ? "light" : "dark";
    part("theme").textContent = theme === "dark" ? "☀" : "☾";
    part("theme").title = `To the ${other} theme`;
    part("theme").setAttribute("aria-label", `To the ${other} theme`);
  }

  // What is wanted of which model: what the address says, else what the server was started with.
  function wanted() {
    const { state } = store;
    const { models, opened } = told;
    const model = named(models, state.model) ?? models.find((one) => one.id === opened?.model) ?? models[0];
    if (!model) return null;
    const given = Object.values(state.texts).some((text) => text);
    const texts = given ? state.texts : opened?.model === model.id ? opened.texts : {};
    const asks = new Set(model.asks.map((ask) => ask.name));
    return { model, texts: Object.fromEntries(Object.entries(texts).filter(([name, text]) => text && asks.has(name))) };
  }

  // What stands on the command line is written into the address: with another server it would be something else.
  function tellOpened() {
    const want = wanted();
    if (!want || !source.can.open || Object.values(store.state.texts).some((text) => text)) return;
    if (!Object.keys(want.texts).length) return;
    store.set({ model: addressOf(want.model, told.models), texts: want.texts }, { step: false });
  }

  // Whoever sends the address should know what it does not say.
  function warn() {
    const long = Object.keys(tooLong(store.state));
    const what = long.every((name) => name === "gold") ? "The gold links are" : "A text is";
    part("untold").hidden = !long.length || !source.can.open;
    part("untold").textContent = long.length ? `${what} too long for the address: it is kept in this window only, and a link to this page does not show it.` : "";
  }

  async function look() {
    const want = wanted();
    if (!want) return;
    const key = JSON.stringify([want.model.id, want.texts]);
    if (key === asked) return;
    asked = key;
    // Only now: what is being typed, and not sent yet, outlives all other changes.
    form?.show(want.model, want.texts);
    fail(null);
    if (!Object.keys(want.texts).length && source.can.open) {
      scene = null;
      answer.welcome(want.model, form.example);
      show();
      return;
    }
    try {
      const found = await progress.wait(source.open({ model: want.model.id, texts: want.texts }), "The model reads");
      if (asked !== key) return;
      scene = found;
      answer.show(scene, want.model, source.can.open);
      announce(scene.answer ? `The model answered: ${scene.answer}` : "The model has read the text.");
    } catch (error) {
      if (asked !== key) return;
      // What was seen before belongs to another text. It is not asked again until the form is sent again.
      scene = null;
      fail(error);
    }
    show();
  }

  function show() {
    const { state } = store;
    const container = part("view");
    document.body.classList.toggle("empty", !scene);
    part("tabs").hidden = !scene;
    if (!scene) {
      unmount();
      return;
    }
    const view = VIEWS.find((one) => one.name === state.view) ?? VIEWS[0];
    tabs.show(view.name, (one) => one.available(scene, source));
    if (mounted?.name === view.name && mounted.scene === scene) {
      attempt(() => mounted.shown.update(state));
      return;
    }
    if (mounted) fail(null); // what went wrong in another view
    unmount();
    tooltip.hide();
    container.className = `view ${view.name}`;
    const can = view.available(scene, source);
    if (can !== true) {
      const why = document.createElement("p");
      why.className = "why-not";
      why.textContent = can;
      container.append(why);
      mounted = { name: view.name, scene, shown: { update() {}, destroy() {} } };
      return;
    }
    mounted = { name: view.name, scene, shown: { update() {}, destroy() {} } };
    attempt(() => (mounted.shown = view.mount(container, context)));
  }

  function unmount() {
    attempt(() => mounted?.shown.destroy());
    mounted = null;
    part("view").replaceChildren();
  }

  function attempt(act) {
    try {
      act();
    } catch (error) {
      console.error(error);
      fail(error);
    }
  }

  function changed() {
    paint();
    warn();
    look();
    if (scene) show();
  }

  part("theme").addEventListener("click", () => store.set({ theme: theme === "dark" ? "light" : "dark" }));
  dark.addEventListener("change", changed);
  part("skip").addEventListener("click", (event) => {
    event.preventDefault();
    part("view").focus();
  });
  addEventListener("unhandledrejection", ({ reason }) => fail(reason));
  // Without an error of its own it is the browser's remark on a ResizeObserver.
  addEventListener("error", ({ error }) => error && fail(error));
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest?.("input, textarea, select, dialog, [contenteditable]")) return;
    const view = VIEWS[Number(event.key) - 1];
    if (event.key === "?") help();
    else if (event.key === "/") form?.focus();
    else if (!scene) return;
    else if (view) store.set({ view: view.name });
    else if (event.key === "]" || event.key === "[") store.set(beside(scene, store.state, event.key === "]" ? 1 : -1));
    else return;
    event.preventDefault();
  });

  paint();
  try {
    told = await progress.wait(source.models(), "Loading");
  } catch (error) {
    fail(error);
    return;
  }
  form = createForm(part("ask"), told.models, source.can.open, ({ model, texts }) => {
    asked = null;
    // Where one looked in another text means nothing in this one.
    const anew = { query: null, key: null, x: null, y: null, zoom: null, output: null, stage: null, step: null, word: null, gold: "" };
    store.set({ ...anew, model: addressOf(model, told.models), texts });
    look();
  });
  tellOpened();
  store.subscribe(changed);
  warn();
  await look();
}

// A saved page says so, and starts itself with the source that it carries.
if (!document.documentElement.hasAttribute("data-saved")) start(new ServerSource());
