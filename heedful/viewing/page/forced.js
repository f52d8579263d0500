// How likely each token of a given text was to the model, and what it would rather have said: part of Lines.

import { button, node } from "./controls.js";
import { percent } from "./arithmetic_table.js";
import { css, ink } from "./colors.js";
import { shown, tokenElement } from "./tokens.js";

export function mountForced(container, context) {
  const { scene, source } = context;
  const given = Boolean(scene.facts?.forced);
  const element = node("section", "forced");
  // One output alone is a label, no text.
  if (!source.can.forced || (scene.outputs?.taken.length ?? 0) < 2) return { destroy() {} };
  const title = node("h2", "", given ? "Your text, as the model sees it" : "What else it might have said");
  const note = node("p", "note", "Each token with the probability that the model gave it, knowing those before it. Point at one to see what else it might have said there.");
  const line = node("p", "said-line");
  const box = node("div", "alternatives");
  box.setAttribute("aria-live", "polite");
  const open = button("Show the probability of each token", load);
  element.append(title, open);
  container.append(element);
  let gone = false;
  let fixed = null;

  async function load() {
    try {
      const told = await context.wait(source.forced(scene), "Weighing");
      if (!gone) draw(told);
    } catch (error) {
      if (gone) return;
      note.textContent = error.message;
      open.replaceWith(note);
    }
  }

  function draw(told) {
    open.remove();
    element.append(note, line, box);
    const special = new Set(scene.axes[told.axis]?.special ?? []);
    const buttons = told.text.map((text, i) => {
      const one = node("button", "said-token", tokenElement(text, { special: special.has(i) || /^<.*>$/.test(text) }), node("span", "percent", percent(told.probability[i])));
      one.type = "button";
      // The less likely, the stronger: what surprised the model is what one looks for.
      const strength = Math.min(1, -Math.log10(Math.max(told.probability[i], 1e-6)) / 4);
      one.firstChild.style.background = strength > 0.04 ? css("difference", 0.5 + 0.45 * strength) : "";
      one.firstChild.style.color = strength > 0.04 ? ink("difference", 0.5 + 0.45 * strength) : "";
      one.classList.toggle("second", told.rank[i] > 1);
      one.addEventListener("pointerenter", () => show(told, i));
      one.addEventListener("focus", () => show(told, i));
      one.addEventListener("click", () => {
        fixed = fixed === i ? null : i;
        show(told, i);
      });
      return one;
    });
    line.append(...buttons);
    line.addEventListener("pointerleave", () => show(told, fixed));
    if (told.of > told.text.length) line.append(` … ${(told.of - told.text.length).toLocaleString("en")} more`);
    // First what surprised the model most.
    const least = told.probability.indexOf(Math.min(...told.probability));
    fixed = least;
    show(told, least);
  }

  function show(told, i) {
    if (i === null || i < 0) return;
    line.querySelectorAll("button").forEach((one, k) => one.setAttribute("aria-pressed", String(k === i)));
    const rank = told.rank[i];
    const place = rank === 1 ? "its first choice" : `choice number ${rank.toLocaleString("en")}`;
    box.replaceChildren(
      node("p", "", `“${shown(told.text[i])}” was ${place}, ${percent(told.probability[i])}. The likeliest were:`),
      node("ul", "choices", ...told.alternatives[i].map(([text, chance]) => {
        const item = node("li", text === told.text[i] ? "taken" : "", node("span", "bar"), tokenElement(text), node("span", "percent", percent(chance)));
        item.style.setProperty("--share", chance);
        return item;
      })),
    );
  }

  if (given) load();
  return {
    destroy() {
      gone = true;
    },
  };
}
