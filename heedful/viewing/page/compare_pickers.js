// Which model, texts, attention and head one side of a comparison is. The left side is the page's own: its model and texts
// are asked for above.

import { menu, node } from "./controls.js";
import { GROUPS, mapTitle } from "./tokens.js";

// Gives {show({models, side, editable, change})}; change({model, texts, map, head}: some of them).
export function sidePicker(element, title) {
  const heading = node("h3", "", title);
  const model = menu("Model", null, (value) => now.change({ model: value, map: null }));
  const maps = menu("Attention", null, (value) => now.change({ map: value }));
  const heads = menu("Head", null, (value) => now.change({ head: value === "mean" ? "mean" : Number(value) }));
  const texts = node("div", "compare-texts");
  element.append(heading, texts, node("div", "controls", model.element, maps.element, heads.element));
  let now = null;
  let asked = "";

  return {
    show(given) {
      now = given;
      const { models, side, editable } = given;
      const { scene, map, head } = side;
      model.element.hidden = !editable || models.length < 2;
      model.show(side.model, models.map((each) => [each.id, each.folder_name || each.title]));
      maps.show(map.name, scene.maps.map((each) => [each.name, `${groupOf(each)}${mapTitle(each)}`]));
      heads.element.hidden = map.heads === 1;
      heads.show(head, [["mean", "mean of all"], ...Array.from({ length: map.heads }, (_, i) => [String(i), String(i + 1)])]);
      const key = JSON.stringify([editable, scene.texts, scene.model]);
      if (key === asked) return;
      asked = key;
      const asks = models.find((each) => each.id === side.model)?.asks ?? Object.keys(scene.texts).map((name) => ({ name, title: name }));
      texts.replaceChildren(...asks.filter((ask) => editable || scene.texts[ask.name]).map((ask) => field(ask, scene.texts[ask.name] ?? "", editable)));
    },
  };

  function field(ask, text, editable) {
    if (!editable) {
      const line = node("p", "compare-text", text);
      line.dir = "auto";
      return line;
    }
    const box = document.createElement("textarea");
    box.rows = 1;
    box.value = text;
    box.dir = "auto";
    box.spellcheck = false;
    box.name = ask.name;
    box.placeholder = ask.optional ? "the model’s own" : "";
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey) return;
      event.preventDefault();
      box.blur();
    });
    box.addEventListener("change", () => {
      const fields = [...texts.querySelectorAll("textarea")].map(({ name, value }) => [name, value.trim()]);
      now.change({ texts: Object.fromEntries(fields.filter(([, value]) => value)) });
    });
    return node("label", "compare-text", node("span", "", ask.title), box);
  }
}

function groupOf(map) {
  return GROUPS[map.group] ? "" : `${map.group} `;
}
