// Which model, texts, attention and head one side of a comparison is. The left side is the page's own: its model and texts
// are asked for above.

import { menu, node } from "./controls.js";
import { GROUPS, mapTitle } from "./tokens.js";

// Gives {show({models, side, editable, offered, change})}; offered({map, head}): whether these can be chosen;
// change({model, texts, map, head}: some of them).
export function sidePicker(element, title) {
  const heading = node("h3", "", title);
  const model = menu("Model", null, (value) => now.change({ model: value, map: null }));
  const maps = menu("Attention", null, (value) => now.change({ map: value }));
  const heads = menu("Head", null, (value) => now.change({ head: value === "mean" ? "mean" : Number(value) }));
  const texts = node("div", "compare-texts");
  element.append(heading, texts, node("div", "controls", model.element, maps.element, heads.element));
  let now = null;
  let asks = ""; // for which texts there are fields
  let fields = new Map();
  let before = {}; // the texts that were shown last

  return {
    show(given) {
      now = given;
      const { models, side, editable, offered } = given;
      const { scene, map, head } = side;
      model.element.hidden = !editable || models.length < 2;
      model.show(side.model, models.map((each) => [each.id, each.folder_name || each.title]));
      maps.show(map.name, scene.maps.map((each) => [each.name, `${groupOf(each)}${mapTitle(each)}`, offered({ map: each.name, head })]));
      heads.element.hidden = map.heads === 1;
      const numbers = Array.from({ length: map.heads }, (_, i) => i);
      heads.show(head, [["mean", "mean of all"], ...numbers.map((i) => [String(i), String(i + 1)])].map((each) => [...each, offered({ map: map.name, head: each[0] })]));
      if (editable) fill(models.find((each) => each.id === side.model).asks, scene.texts);
      else texts.replaceChildren(...Object.values(scene.texts).filter(Boolean).map(line));
    },
  };

  // Puts texts into the fields; the one that has the focus and was typed in is left alone.
  function fill(asked, given) {
    const key = JSON.stringify(asked);
    if (key !== asks) {
      asks = key;
      before = {};
      fields = new Map(asked.map((ask) => [ask.name, field(ask)]));
      texts.replaceChildren(...asked.map((ask) => node("label", "compare-text", node("span", "", ask.title), fields.get(ask.name))));
    }
    for (const [name, box] of fields) {
      const text = given[name] ?? "";
      const typed = box === document.activeElement && box.value !== (before[name] ?? "");
      if (!typed && box.value !== text) box.value = text;
    }
    before = given;
  }

  function line(text) {
    const element = node("p", "compare-text", text);
    element.dir = "auto";
    return element;
  }

  function field(ask) {
    const box = document.createElement("textarea");
    box.rows = 1;
    box.dir = "auto";
    box.spellcheck = false;
    box.name = ask.name;
    box.placeholder = ask.optional ? "the model’s own" : "";
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      box.blur();
    });
    box.addEventListener("change", () => {
      const given = Array.from(fields, ([name, { value }]) => [name, value.trim()]);
      now.change({ texts: Object.fromEntries(given.filter(([, value]) => value)) });
    });
    return box;
  }
}

function groupOf(map) {
  return GROUPS[map.group] ? "" : `${map.group} `;
}
