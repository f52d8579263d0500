// A translation as it is written: the search step by step, with what else was considered, and what was read for each token.

import { percent } from "./arithmetic_table.js";
import { button, menu, node } from "./controls.js";
import { css, ink } from "./colors.js";
import { shown, tokenElement } from "./tokens.js";

const BEAMS = [1, 2, 3, 4, 6, 8];
const MILLISECONDS = 900;

export function mountGrowth(container, context) {
  const element = node("section", "growth");
  let gone = false;
  let turn = 0; // of the latest search that was asked for: what comes of earlier ones is dropped
  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
  };
  const over = {
    destroy() {
      gone = true;
      stop();
    },
  };
  if (!context.source.can.growth) return over;
  begin();
  return over;

  async function begin() {
    const { models } = await context.source.models();
    const model = models.find((one) => one.id === context.scene.model);
    if (gone || !model?.writes) return;
    container.append(element);
    let beam = BEAMS.includes(context.state.beam) ? context.state.beam : 4;
    const beams = menu("Hypotheses", BEAMS.map((one) => [one, one === 1 ? "1, greedy" : String(one)]), (value) => {
      beam = Number(value);
      context.set({ beam, step: null });
      load();
    });
    beams.show(beam);
    const start = button("Watch it being written", load);
    const holder = node("div", "growth-holder");
    element.append(node("h2", "", "As it was written"), node("div", "controls", start, beams.element), holder);
    // An address that names a step was written by somebody who watched.
    if (context.state.step !== null) load();

    async function load() {
      const mine = ++turn;
      stop();
      try {
        const told = await context.wait(context.source.growth(context.scene, beam), "Searching");
        if (gone || mine !== turn) return;
        start.remove();
        holder.replaceChildren(...player(told));
      } catch (error) {
        if (!gone && mine === turn) context.fail(error);
      }
    }
  }

  // told: what heedful/viewing/growth.py tells
  function player(told) {
    const { nodes } = told;
    const last = Math.max(...nodes.step);
    const steps = Array.from({ length: last + 1 }, () => []);
    nodes.step.forEach((step, id) => steps[step].push(id));
    const path = (id) => (id === null ? [] : [...path(nodes.parent[id]), id]);
    const best = new Set(path(told.answers[0]?.node ?? 0));
    let step = 0;
    let picked = null; // a node
    let layer = Math.max(0, told.layers.length - 2);

    const play = button("▶ Play", () => (timer ? pause() : run()));
    const back = button("‹", () => go(step - 1), "a step back");
    const next = button("›", () => go(step + 1), "a step on");
    const slider = node("input");
    Object.assign(slider, { type: "range", min: 0, max: last, step: 1, value: 0 });
    slider.setAttribute("aria-label", "Step");
    slider.addEventListener("input", () => go(Number(slider.value)));
    const count = node("span", "number");
    const layers = menu("Read by layer", told.layers.map((_, i) => [i, `${i + 1} of ${told.layers.length}`]), (value) => {
      layer = Number(value);
      read();
    });
    layers.show(layer);
    layers.element.hidden = told.layers.length < 2;
    const source = node("p", "growth-source");
    source.setAttribute("aria-label", "The source");
    source.dir = "auto";
    const sources = told.source.map((text) => {
      const one = node("span", "source-token", tokenElement(text, { special: /^<.*>$/.test(text) }));
      source.append(one, " ");
      return one;
    });
    const list = node("div", "hypotheses");
    const words = node("p", "note");
    words.setAttribute("aria-live", "polite");

    function run() {
      stop(); // the player before may have been started meanwhile
      if (step === last) to(0);
      timer = setInterval(() => {
        to(step + 1);
        if (step === last) pause();
      }, MILLISECONDS);
      play.textContent = "❚❚ Pause";
    }

    // Where it rests stands in the address; not each step on the way.
    function pause() {
      stop();
      play.textContent = "▶ Play";
      if (!gone) context.set({ step });
    }

    function go(where) {
      to(where);
      pause();
    }

    function to(where) {
      step = Math.max(0, Math.min(where, last));
      slider.value = step;
      count.textContent = `${step} of ${last}`;
      back.disabled = step === 0;
      next.disabled = step === last;
      picked = null;
      draw();
    }

    // Those that live, those that have ended so far, and what was considered and dropped in this step.
    function draw() {
      const now = step === 0 ? [0] : steps[step];
      const alive = now.filter((id) => ["alive", "left"].includes(nodes.fate[id]));
      const ended = nodes.fate.flatMap((fate, id) => (["finished", "cut"].includes(fate) && nodes.step[id] <= step ? [id] : []));
      ended.sort((one, other) => nodes.score[other] - nodes.score[one]);
      const dropped = now.filter((id) => nodes.fate[id] === "dropped");
      list.replaceChildren();
      group(step === last ? "Alive when the search was over" : "Alive", alive, "");
      group("Considered and dropped", dropped, "dropped");
      group("Ended", ended, "ended");
      const said = alive.length + ended.length;
      words.textContent = step === 0 ? "Nothing is written yet. Each token is chosen after reading the source again." : `After ${step} ${step === 1 ? "token" : "tokens"}: ${alive.length} alive, ${ended.length} ended. Click a token to see what was read for it.`;
      picked ??= said ? (alive[0] ?? ended[0]) : null;
      read();
    }

    function group(title, ids, kind) {
      if (!ids.length || (ids.length === 1 && ids[0] === 0)) return;
      list.append(node("h3", "", title), ...ids.map((id) => row(id, kind)));
    }

    function row(id, kind) {
      const way = path(id);
      const line = node("div", `hypothesis ${kind}${best.has(id) ? " best" : ""}`);
      const text = node("div", "tokens");
      text.dir = "auto";
      way.forEach((one, i) => {
        if (one === 0) return;
        const token = node("button", `growing${i === way.length - 1 ? " newest" : ""}${nodes.space[one] ? " begins" : ""}`, tokenElement(nodes.text[one], { special: nodes.text[one] === "</s>" }));
        token.type = "button";
        token.dataset.node = one;
        token.title = `${percent(nodes.probability[one])} after what stands before it`;
        token.addEventListener("click", () => {
          pause();
          picked = one;
          read();
        });
        text.append(token);
      });
      const log = kind === "ended" ? `score ${nodes.score[id].toFixed(2)}` : percent(nodes.probability[id]);
      const number = node("span", "number", log);
      number.title = kind === "ended" ? "log-probability, divided by a penalty for length" : "probability of the newest token";
      line.append(text, number);
      if (kind !== "ended") line.style.setProperty("--strength", 0.4 + 0.6 * nodes.probability[id]);
      return line;
    }

    // What was read for the picked token: the source in the colours of its weights.
    function read() {
      for (const one of list.querySelectorAll(".growing")) one.setAttribute("aria-pressed", String(Number(one.dataset.node) === picked));
      const before = picked ? nodes.parent[picked] : null;
      const [places, weights] = (before === null ? null : told.reads[before]?.[layer]) ?? [[], []];
      const of = new Map(places.map((place, i) => [place, weights[i]]));
      sources.forEach((one, i) => {
        const weight = of.get(i) ?? 0;
        one.firstChild.style.background = weight > 0.004 ? css("weights", weight) : "";
        one.firstChild.style.color = weight > 0.004 ? ink("weights", weight) : "";
        one.title = weight ? percent(weight) : "";
      });
      others.replaceChildren();
      if (before === null || !told.alternatives[before]) return;
      others.append(
        node("p", "", `For “${shown(nodes.text[picked])}” the model read what is coloured above. What might have stood there:`),
        node("ul", "choices", ...told.alternatives[before].map(([text, chance]) => {
          const item = node("li", text === nodes.text[picked] ? "taken" : "", node("span", "bar"), tokenElement(text), node("span", "percent", percent(chance)));
          item.style.setProperty("--share", chance);
          return item;
        })),
      );
    }

    const others = node("div", "alternatives");
    if (context.state.step !== null) to(context.state.step);
    else if (matchMedia("(prefers-reduced-motion: reduce)").matches) to(last);
    else {
      to(0);
      run();
    }
    return [
      node("div", "controls", play, back, next, slider, count, layers.element),
      source,
      words,
      node("div", "growth-columns", list, others),
    ];
  }
}
