// How to read the page, and its keys.

const KEYS = [
  ["/", "type a text"],
  ["1 … 7", "the views"],
  ["[ ]", "the head before, the next"],
  ["← → ↑ ↓", "from head to head, from weight to weight, from token to token"],
  ["Enter", "open a head; fix a weight"],
  ["+ − 0", "nearer, farther, all of it"],
  ["Shift + arrows", "Map: shift it"],
  ["Home End", "the first token, the last, in a line of them"],
  ["n b", "Arithmetic: the next step, the one before"],
  ["← → ↑ ↓", "Arithmetic: another query, another key"],
  ["Shift + ← →", "Arithmetic: from number to number of the vectors"],
  ["Esc", "let go of what is fixed"],
  ["?", "this help"],
];

const READING = [
  "A query looks at keys. Each row of a map is one query; its weights add up to 1, and the darker a weight, the more is looked at (in the dark theme, the brighter).",
  "Every model has several heads in each layer, and each looks in its own way. The overview says which stand out.",
  "The address in the browser holds the model, the texts, the view, and what is chosen in it: send it, and whoever has the same model sees the same. Texts of more than 6,000 characters do not fit in, and the page then says so; nor does it hold whether Lines colours each head, and which correlation and how many methods Beyond shows.",
  "To keep what is seen: heedful view MODEL --source TEXT --save page.html writes this page into one file, and heedful figure MODEL --source TEXT --head decoder.1:2 --save fig.pdf draws a head for a paper.",
];

export function createHelp(button) {
  const dialog = document.createElement("dialog");
  dialog.className = "help";
  dialog.setAttribute("aria-labelledby", "help-title");
  const title = document.createElement("h2");
  title.id = "help-title";
  title.textContent = "How to read this page";
  const list = document.createElement("dl");
  for (const [key, what] of KEYS) {
    const term = document.createElement("dt");
    term.textContent = key;
    const meaning = document.createElement("dd");
    meaning.textContent = what;
    list.append(term, meaning);
  }
  const close = document.createElement("button");
  close.type = "button";
  close.className = "quiet";
  close.textContent = "Close";
  close.addEventListener("click", () => dialog.close());
  dialog.append(title, ...READING.map(paragraph), list, close);
  // A click beside it closes it.
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  const show = () => dialog.open || dialog.showModal();
  button.addEventListener("click", show);
  return show;
}

function paragraph(text) {
  const element = document.createElement("p");
  element.textContent = text;
  return element;
}
