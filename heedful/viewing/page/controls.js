// The small controls that stand above pictures.

// A choice of few: [[value, words, title?], ...]. Gives {element, show(value)}.
export function choice(label, options, choose) {
  const element = document.createElement("div");
  element.className = "choice";
  element.setAttribute("role", "group");
  element.setAttribute("aria-label", label);
  const buttons = options.map(([value, words, title]) => {
    const one = button(words, () => choose(value), title);
    one.className = "";
    element.append(one);
    return [value, one];
  });
  return {
    element,
    show(value) {
      for (const [own, one] of buttons) one.setAttribute("aria-pressed", String(own === value));
    },
  };
}

// A choice of many. Gives {element, show(value, [[value, words, whether it is offered?], ...]?)}.
export function menu(label, options, choose) {
  const element = document.createElement("label");
  const words = document.createElement("span");
  words.textContent = label;
  const select = document.createElement("select");
  select.addEventListener("change", () => choose(select.value));
  element.append(words, select);
  let known = "";
  const show = (value, given) => {
    const key = JSON.stringify(given);
    if (given && key !== known) {
      known = key;
      select.replaceChildren(
        ...given.map(([own, text, offered = true]) => {
          const option = document.createElement("option");
          option.value = own;
          option.textContent = text;
          option.disabled = !offered;
          return option;
        }),
      );
    }
    select.value = String(value);
  };
  show("", options);
  return { element, show };
}

export function button(words, act, title = "") {
  const element = document.createElement("button");
  element.type = "button";
  element.className = "quiet";
  element.textContent = words;
  if (title) element.title = title;
  element.addEventListener("click", act);
  return element;
}

export function tick(words, change) {
  const element = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.addEventListener("change", () => change(box.checked));
  const text = document.createElement("span");
  text.textContent = words;
  element.append(box, text);
  return { element, box };
}

export function node(tag, kind = "", ...content) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.append(...content);
  return element;
}
