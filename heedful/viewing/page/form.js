// What is asked of the model: a field for each of its texts. Enter looks; a field left empty takes its example.
// Where a text has several lines, Enter begins the next; Control and Enter look.

export function createForm(element, models, can, ask) {
  let model = null;
  let fields = new Map();
  let seen = { model: null, texts: {} }; // what is looked at; the form may have been filled in further
  let choice = null;

  const button = document.createElement("button");
  button.className = "look";
  button.textContent = "Look";

  element.hidden = !can;
  element.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });

  function submit() {
    for (const { name, optional, example } of model.asks) {
      const field = fields.get(name);
      if (!field.value.trim() && !optional && example) field.value = example;
      if (!field.value.trim() && !optional) {
        field.value = "";
        field.placeholder = "type a text first";
        return field.focus();
      }
    }
    const texts = {};
    for (const [name, field] of fields) if (field.value.trim()) texts[name] = field.value;
    return ask({ model, texts });
  }

  function build(next) {
    model = next;
    fields = new Map();
    const parts = [];
    if (models.length > 1) {
      choice = document.createElement("select");
      for (const one of models) {
        const option = document.createElement("option");
        option.value = one.id;
        option.textContent = nameOf(one, models);
        choice.append(option);
      }
      choice.value = model.id;
      choice.addEventListener("change", () => {
        const texts = values();
        build(models.find((one) => one.id === choice.value));
        for (const [name, field] of fields) field.value = texts[name] ?? "";
        choice.focus(); // the menu is a new one
      });
      parts.push(labelled("Model", choice, "model-choice"));
    }
    for (const { name, title, optional, example } of model.asks) {
      const field = document.createElement("textarea");
      const lines = example?.includes("\n");
      field.rows = lines ? Math.min(6, example.split("\n").length) : 1;
      field.name = name;
      field.dir = "auto";
      field.spellcheck = false;
      field.placeholder = optional ? "the model’s own, or yours" : (example ?? "");
      field.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        if (lines && !event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        submit();
      });
      fields.set(name, field);
      parts.push(labelled(title, field, "text"));
    }
    element.replaceChildren(...parts, button);
  }

  function values() {
    return Object.fromEntries(Array.from(fields, ([name, field]) => [name, field.value]));
  }

  return {
    // Shows what is looked at; what is being typed in the field that has the focus, or chosen, is left alone.
    show(next, texts) {
      const before = seen;
      seen = { model: next, texts };
      const chosen = model !== before.model;
      if (next !== model && chosen) return;
      if (next !== model) build(next);
      for (const [name, field] of fields) {
        if (field === document.activeElement && field.value !== (before.texts[name] ?? "")) continue;
        if (field.value !== (texts[name] ?? "")) field.value = texts[name] ?? "";
      }
    },
    // Takes the examples and looks.
    example() {
      for (const field of fields.values()) field.value = "";
      submit();
    },
    focus() {
      const [first] = fields.values();
      first?.focus();
      first?.select();
    },
  };
}

// What tells a model from the others: its title, and where others have the same one, its folder.
export function nameOf(model, models) {
  const alike = models.some((other) => other !== model && other.title === model.title);
  return alike && model.folder_name ? `${model.title} · ${model.folder_name}` : model.title;
}

function labelled(title, control, kind) {
  const label = document.createElement("label");
  label.className = kind;
  const words = document.createElement("span");
  words.textContent = title;
  label.append(words, control);
  return label;
}
