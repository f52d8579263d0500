// Choosers of what is looked at: which attention, which head, which token. Each is an element with an `update`.

import { node, tick } from "./controls.js";
import { chosen } from "./state.js";
import { GROUPS, mapTitle, tokenElement } from "./tokens.js";

// A menu of the attentions of a scene, by group. can(map): whether one may be chosen.
export function mapChooser(context, can = () => true) {
  const { scene } = context;
  const select = document.createElement("select");
  const groups = new Map();
  scene.maps.forEach((map) => {
    if (!groups.has(map.group)) {
      const group = document.createElement("optgroup");
      group.label = GROUPS[map.group] ?? map.group;
      groups.set(map.group, group);
      select.append(group);
    }
    const option = new Option(mapTitle(map), map.name);
    option.disabled = !can(map);
    groups.get(map.group).append(option);
  });
  select.addEventListener("change", () => context.set({ map: select.value, query: null, key: null }));
  return labelled("Attention", select, () => (select.value = chosen(scene, context.state).map.name));
}

// A menu of the heads of the chosen attention. mean: whether their mean is offered.
export function headChooser(context, mean) {
  const { scene } = context;
  const select = document.createElement("select");
  select.addEventListener("change", () =>
    context.set({ head: select.value === "mean" ? "mean" : Number(select.value) }),
  );
  let heads = 0;
  const chooser = labelled("Head", select, () => {
    const { map, head } = chosen(scene, context.state);
    if (map.heads !== heads) {
      heads = map.heads;
      const numbers = Array.from({ length: heads }, (_, i) => new Option(String(i + 1), String(i)));
      select.replaceChildren(...(mean && heads > 1 ? [new Option("mean of all", "mean")] : []), ...numbers);
    }
    select.value = String(head === "mean" && !mean ? 0 : head);
    chooser.element.hidden = heads === 1;
  });
  return chooser;
}

// Ticks for what is taken out of the keys. Gives {elements, update(axis of the keys)}.
export function withoutChooser(context) {
  const kinds = () => context.state.without.split(",").filter(Boolean);
  const out = (kind, on) => {
    const chosenKinds = on ? [...kinds(), kind] : kinds().filter((one) => one !== kind);
    context.set({ without: ["special", "first"].filter((one) => chosenKinds.includes(one)).join(",") });
  };
  const first = tick("without the first key", (on) => out("first", on));
  const special = tick("without special tokens", (on) => out("special", on));
  return {
    elements: [first.element, special.element],
    update(keys) {
      first.box.checked = kinds().includes("first");
      special.box.checked = kinds().includes("special");
      special.element.hidden = !keys.special.length && !special.box.checked;
    },
  };
}

// The tokens of an axis as a line of text in which one is chosen; of a long text those around it.
export function tokenChooser({ label, most = 120, choose }) {
  const element = node("div", "token-chooser");
  element.setAttribute("role", "listbox");
  element.setAttribute("aria-label", label);
  let built = "";
  let place = 0;
  let last = 0;

  const within = (number) => Math.max(0, Math.min(number, last));
  element.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const next = { ArrowLeft: place - 1, ArrowRight: place + 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose(within(next));
    // Of a long text other tokens may stand there now.
    element.querySelector(`[data-number="${place}"]`)?.focus({ preventScroll: true });
  });

  return {
    element,
    // So many tokens on, from wherever the keys are pressed.
    move(step) {
      choose(within(place + step));
    },
    update(axis, number) {
      place = number;
      last = axis.text.length - 1;
      const first = axis.text.length <= most ? 0 : Math.max(0, Math.min(number - Math.floor(most / 2), axis.text.length - most));
      const key = `${axis.title} ${first} ${axis.text.length}`;
      if (key !== built) {
        built = key;
        const special = new Set(axis.special);
        element.replaceChildren();
        if (first > 0) element.append("… ");
        axis.text.slice(first, first + most).forEach((text, i) => {
          const at = first + i;
          const button = document.createElement("button");
          button.type = "button";
          button.tabIndex = -1;
          button.dataset.number = at;
          button.setAttribute("role", "option");
          button.append(tokenElement(text, { special: special.has(at), most: 24 }));
          button.addEventListener("click", () => choose(at));
          element.append(button);
        });
        if (first + most < axis.text.length) element.append(" …");
      }
      for (const button of element.querySelectorAll("button")) {
        const selected = Number(button.dataset.number) === number;
        button.setAttribute("aria-selected", String(selected));
        button.tabIndex = selected ? 0 : -1;
        if (selected) scrollInto(element, button);
      }
    },
  };
}

// Sideways only: the page itself stays where it is.
function scrollInto(element, child) {
  const left = child.offsetLeft - element.offsetLeft;
  if (left < element.scrollLeft || left + child.offsetWidth > element.scrollLeft + element.clientWidth) {
    element.scrollLeft = left - element.clientWidth / 2;
  }
}

function labelled(title, control, update) {
  return { element: node("label", "", node("span", "", title), control), update };
}
