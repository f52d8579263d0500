// What the model answered, what it is, and the line at the foot that says what the numbers are.

import { GROUPS } from "./tokens.js";

export function createAnswer(element, footer) {
  const title = document.getElementById("model");

  function head(model, more = []) {
    const name = document.createElement("strong");
    name.textContent = model.title;
    const facts = document.createElement("span");
    const said = [model.task, model.parameters && `${count(model.parameters)} parameters`, ...more];
    facts.textContent = said.filter(Boolean).join(" · ");
    title.replaceChildren(name, facts);
    document.title = `${model.title} – heedful`;
  }

  return {
    // No text yet.
    welcome(model, example) {
      head(model);
      element.hidden = false;
      element.className = "answer welcome";
      const line = paragraph("invitation", "Type a text, and see where the model looks.");
      const button = document.createElement("button");
      button.type = "button";
      button.className = "quiet";
      const first = model.asks.find((ask) => ask.example)?.example;
      button.textContent = first ? `Try “${first}”` : "Try the example";
      button.addEventListener("click", example);
      element.replaceChildren(line, ...(first ? [button] : []));
      footer.replaceChildren();
    },

    // asked: whether what was asked for stands in the form above, so that it need not be said again
    show(scene, model, asked) {
      const heads = scene.maps.reduce((sum, map) => sum + map.heads, 0);
      head(model, [`${heads} ${heads === 1 ? "head" : "heads"}`]);
      element.className = "answer";
      element.hidden = !scene.answer && !Object.keys(scene.texts).length;
      const said = paragraph("said", scene.answer);
      said.dir = "auto";
      const given = Object.values(scene.texts).map((text) => {
        const line = paragraph("given", text);
        line.dir = "auto";
        return line;
      });
      const parts = [...(asked ? [] : given), ...(scene.answer ? [said] : [])];
      const facts = [...lengths(scene), ...numbers(scene.facts ?? {})];
      parts.push(paragraph("facts", facts.join(" · ")));
      element.replaceChildren(...parts);
      footer.replaceChildren(...foot(scene));
    },
  };
}

function foot(scene) {
  const groups = [...new Set(scene.maps.map((map) => GROUPS[map.group] ?? map.group))].join(", ").toLowerCase();
  const scores = [...new Set(scene.maps.map((map) => map.score).filter(Boolean))].join(", ");
  const what = `Shown are weights of attention (${groups}${scores ? `; ${scores}` : ""}), after softmax and before dropout.`;
  const sampled = scene.sampled ? " Overviews and statistics were taken from a sample of the queries." : "";
  return [
    paragraph("", what + sampled),
    paragraph("", "Attention says where a model looks. It does not say why, nor what the answer hangs on: “Beyond” sets other measures beside it."),
  ];
}

function paragraph(kind, text) {
  const element = document.createElement("p");
  element.className = kind;
  element.textContent = text;
  return element;
}

export function count(number) {
  if (number >= 1e9) return `${(number / 1e9).toFixed(1)} billion`;
  if (number >= 1e6) return `${(number / 1e6).toFixed(1)} million`;
  return number.toLocaleString("en");
}

// How much there is of each text; an axis that is another one shifted ("German, read so far") is not counted again.
function lengths(scene) {
  const seen = new Map();
  for (const { title, text } of Object.values(scene.axes)) {
    const name = title.split(",")[0];
    // Facts and questions stand whole where others have tokens.
    const tokens = text.length > 1 && !/\S\s+\S/.test(text[0]);
    if (!seen.has(name)) seen.set(name, `${name} ${count(text.length)}${tokens ? " tokens" : ""}`);
  }
  return [...seen.values()];
}

// Of all that is told of a scene, what is one number or one word; views show the rest.
function numbers(facts) {
  const found = [];
  for (const [key, value] of Object.entries(facts)) {
    const name = key.replaceAll("_", " ").replace("log probability", "log-probability");
    if (value === true && key !== "finished") found.push(name);
    if (value === false && key === "finished") found.push("not finished");
    if (typeof value === "number") found.push(`${name} ${Number.isInteger(value) ? count(value) : value.toPrecision(3).replace("-", "−")}`);
    if (typeof value === "string" && value.length < 60) found.push(`${name} ${value}`);
  }
  return found;
}
