// The table of one query's arithmetic: a row for each key, a column for each step. See arithmetic.js.

import { node } from "./controls.js";
import { dimension, magnitude, strip } from "./strips.js";
import { shorten, shown, tokenElement } from "./tokens.js";

// told: what heedful/viewing/arithmetic.py tells; query, keys: axes; number: of the query; say(node): writes out what is
// pointed at; choose(key): a row was chosen
export function buildTable(told, { query, keys, number, say, choose }) {
  const { asked, v, numbers, sums, weights, exp, allowed, form } = told;
  const rows = numbers.length;
  const width = asked.length;
  const deep = told.values ? told.values.shape[1] : 0;
  const vectors = form !== "other";
  const key = (row) => told.keys.subarray(row * width, (row + 1) * width);
  const value = (row) => told.values.subarray(row * deep, (row + 1) * deep);
  const product = (row, i) => {
    const k = told.keys[row * width + i];
    return form === "additive" ? v[i] * Math.tanh(asked[i] + k) : asked[i] * k;
  };
  const products = Array.from({ length: rows }, (_, row) => Float32Array.from({ length: width }, (_, i) => product(row, i)));
  const shares = Array.from({ length: rows }, (_, row) => (deep ? value(row).map((x) => x * weights[row]) : []));
  const special = new Set(keys.special);
  const hidden = told.count - told.open;
  const name = (row) => `“${shorten(shown(keys.text[numbers[row]] ?? ""), 24)}”`;
  const steps = told.steps.map((step, i) => ({ ...step, after: told[`step${i}`] }));

  // Columns, in order; `stage`: since when each is seen.
  const stages = [];
  const stage = (words) => stages.push(words) - 1;
  const sayAsked = { general: "q W", rotary: "q, turned", cosine: "q / |q|", additive: "W q + b", concat: "W q", "location-aware": "W q + b" }[told.kind] ?? "q";
  const sayKey = { rotary: "k, turned", cosine: "k / |k|", location: "W", additive: "U k", concat: "U k", "location-aware": "V k + U f" }[told.kind] ?? "k";
  const columns = [{ name: "token", title: "key", kind: "token", stage: 0 }];
  if (vectors) {
    columns[0].stage = stage(`The query ${q()} has a vector of ${width} numbers, ${sayAsked}: what it is looking for.`);
    columns.push({ name: "key", title: sayKey, kind: "vector", stage: stage(`Every key has one of the same width, ${sayKey}: by what it can be found.`) });
    const words = form === "additive" ? "They are added, tanh keeps each number within ±1, and v weighs it." : "Number by number, the query is multiplied with each key: orange speaks for the key, blue against it.";
    columns.push({ name: "product", title: form === "additive" ? "v · tanh(…)" : `${sayAsked} × ${sayKey}`, kind: "vector", stage: stage(words) });
  }
  columns.push({ name: "sum", title: "sum", kind: "number", stage: stage("The sum of a row says how well its key answers.") });
  steps.forEach((step, i) => columns.push({ name: `step${i}`, title: stepTitle(step), about: step.says, kind: "number", stage: stage(`${capital(step.says)}.`) }));
  const taken = hidden ? ` ${hidden.toLocaleString("en")} ${hidden === 1 ? "key" : "keys"} may not be seen, and ${hidden === 1 ? "gets" : "get"} nothing.` : "";
  columns.push({ name: "exp", title: "exp", about: "e to the power of the score, the greatest score taken off first", kind: "number", stage: stage(`e to the power of the score makes all of them positive; the greatest, ${decimal(told.greatest)}, is taken off first, which changes no share.${taken}`) });
  const factor = told.factor ? ` Then ${told.factor}.` : "";
  columns.push({ name: "share", title: "share", about: "the weight: exp divided by the sum of all", kind: "share", stage: stage(`Divided by their sum, ${decimal(told.total)}, they are shares of one whole: the weights.${factor}`) });
  if (deep) columns.push({ name: "value", title: "share × v", kind: "vector", stage: stage(`Every key has a value v too, of ${deep} numbers: what it has to tell. It is taken as strongly as its share.`) });
  const end = deep ? stage(`Added up, they are what the query takes home: the output of this head.`) : stages.length - 1;

  const element = node("div", "arithmetic-table");
  element.setAttribute("role", "table");
  element.setAttribute("aria-label", `Arithmetic of the query ${q()}`);
  element.style.setProperty("--columns", columns.map(({ kind }) => ({ token: "minmax(4rem, max-content)", vector: "minmax(7rem, 1fr)", number: "max-content", share: "minmax(7rem, 0.6fr)" })[kind]).join(" "));
  element.style.setProperty("--k-one", `${100 / width}%`);
  element.style.setProperty("--v-one", `${100 / (deep || 1)}%`);

  const mostAsked = magnitude(asked);
  const mostKey = magnitude(told.keys);
  const mostProduct = magnitude(...products);
  const mostShare = deep ? magnitude(told.output, ...shares) : 1;

  function cell(column, className, ...content) {
    const made = node("div", `cell ${column.kind} ${column.name} ${className}`, ...content);
    made.setAttribute("role", className === "head" ? "columnheader" : "cell");
    made.dataset.stage = column.stage;
    if (column.about) made.title = column.about;
    return made;
  }

  function heads() {
    const row = node("div", "row heads");
    row.setAttribute("role", "row");
    for (const column of columns) row.append(cell(column, "head", column.title));
    return row;
  }

  function questions() {
    const row = node("div", "row question");
    row.setAttribute("role", "row");
    const cells = columns.map((column) => {
      if (column.name === "token") return cell(column, "", node("span", "asks", "query "), tokenElement(query.text[number] ?? "", { most: 24 }));
      if (column.name === "key") {
        const own = cell(column, "", node("span", "label", sayAsked), strip("k", asked, mostAsked, `The query, ${sayAsked}`, -1));
        own.dataset.stage = columns[0].stage;
        return own;
      }
      if (column.name === "product" && form === "additive") return cell(column, "", node("span", "label", "v"), strip("k", v, magnitude(v), "v", -2));
      return cell(column, "");
    });
    row.append(...cells);
    return row;
  }

  function keyRow(row) {
    const line = node("div", `row key${allowed[row] ? "" : " hidden-key"}`);
    line.setAttribute("role", "row");
    line.dataset.row = row;
    line.style.setProperty("--share", weights[row]);
    for (const column of columns) line.append(cell(column, "", ...content(column, row)));
    return line;
  }

  function content(column, row) {
    const step = column.name.startsWith("step") ? steps[Number(column.name.slice(4))] : null;
    if (step) return labelled(column.title, decimal(step.after[row]));
    switch (column.name) {
      case "token":
        return [tokenElement(keys.text[numbers[row]] ?? "", { special: special.has(numbers[row]), most: 24 })];
      case "key":
        return [node("span", "label", sayKey), strip("k", key(row), mostKey, `The key ${name(row)}`, row)];
      case "product":
        return [node("span", "label", column.title), strip("k", products[row], mostProduct, `Products with ${name(row)}`, row)];
      case "sum":
        return labelled("sum", decimal(sums[row]));
      case "exp":
        return labelled("exp", allowed[row] ? decimal(exp[row]) : "–");
      case "share":
        return allowed[row] ? [node("span", "bar"), node("span", "percent", percent(weights[row]))] : [node("span", "percent", "not seen")];
      default:
        return [node("span", "label", column.title), strip("v", shares[row], mostShare, `The value of ${name(row)} times its share`, row)];
    }
  }

  function others() {
    const { keys: count, weight } = told.rest;
    const line = node("div", "row others");
    line.setAttribute("role", "row");
    line.style.setProperty("--share", weight);
    for (const column of columns) {
      const own = cell(column, "");
      if (column.name === "token") own.append(`${count.toLocaleString("en")} ${count === 1 ? "other" : "others"}`);
      if (column.name === "exp") own.append(...labelled("exp", decimal(told.rest.exp)));
      if (column.name === "share") own.append(node("span", "bar"), node("span", "percent", percent(weight)));
      if (column.name === "value") own.append(node("span", "label", "all of them"), strip("v", told.rest_output, mostShare, "What the others add", -3));
      line.append(own);
    }
    return line;
  }

  function totals() {
    const line = node("div", "row total");
    line.setAttribute("role", "row");
    for (const column of columns) {
      const own = cell(column, "");
      if (column.name === "token") {
        own.append("sum");
        own.dataset.stage = columns.find((one) => one.name === "share").stage;
      }
      if (column.name === "exp") {
        own.append(...labelled("total", decimal(told.total)));
        own.dataset.stage = columns.find((one) => one.name === "share").stage;
      }
      if (column.name === "share") own.append(node("span", "percent", percent(weights.reduce((a, b) => a + b, told.rest.weight))));
      if (column.name === "value") {
        own.append(node("span", "label", "output"), strip("v", told.output, mostShare, "The output of this head", -4));
        own.dataset.stage = end;
      }
      line.append(own);
    }
    return line;
  }

  element.append(heads(), questions(), ...Array.from({ length: rows }, (_, row) => keyRow(row)));
  if (told.count > rows) element.append(others());
  element.append(totals());
  if (told.missing) element.append(node("p", "note missing", told.missing));

  // What is pointed at: {kind: "k" | "v", i, row}, fixed by a click.
  let pointed = null;
  let fixed = null;
  let picked = null;

  function point(next, fix = false) {
    pointed = next ?? fixed;
    if (fix) fixed = next && fixed && next.kind === fixed.kind && next.i === fixed.i && next.row === fixed.row ? null : next;
    element.classList.toggle("at-k", pointed?.kind === "k");
    element.classList.toggle("at-v", pointed?.kind === "v");
    if (pointed) element.style.setProperty(`--${pointed.kind}-at`, `${(100 * pointed.i) / (pointed.kind === "k" ? width : deep)}%`);
    say(pointed ? written(pointed) : chain(picked ?? top()));
  }

  // "q₁₇ × k₁₇ = 0.83 × −1.20 = −1.00"
  function written({ kind, i, row }) {
    const at = row >= 0 ? row : (picked ?? top());
    const line = node("span", "");
    // (W q + b)₅, but q₅
    const named = (name) => [node("var", "", /[ /]/.test(name) ? `(${name})` : name), node("sub", "", String(i + 1))];
    if (kind === "v") {
      line.append(`${name(at)}: `, percent(weights[at]), " of ", ...named("v"), ` = ${decimal(weights[at], 3)} × ${decimal(value(at)[i])} = `, result(shares[at][i]), `; all keys together: `, result(told.output[i]));
    } else if (form === "additive") {
      line.append(`${name(at)}: `, ...named("v"), " tanh(", ...named(sayAsked), " + ", ...named(sayKey), `) = ${decimal(v[i])} × tanh(${decimal(asked[i])} + ${bracketed(key(at)[i])}) = `, result(products[at][i]), `, of a sum of ${decimal(sums[at])}`);
    } else {
      line.append(`${name(at)}: `, ...named(sayAsked), " × ", ...named(sayKey), ` = ${decimal(asked[i])} × ${bracketed(key(at)[i])} = `, result(products[at][i]), `, of a sum of ${decimal(sums[at])}`);
    }
    return line;
  }

  // A row as one chain: "Pferd": sum 3.21, divided by √32 → 0.57, exp → 0.44, share 14 %
  function chain(row) {
    if (row === null) return node("span", "", "This query may see nothing: its output is zero.");
    const parts = [`${name(row)}: sum ${decimal(sums[row])}`];
    for (const step of steps) parts.push(`${step.says}: ${decimal(step.after[row])}`);
    if (!allowed[row]) parts.push("may not be seen");
    else parts.push(`exp(${decimal(lastOf(row))} − ${bracketed(told.greatest)}) = ${decimal(exp[row], 3)}`, `of ${decimal(told.total)} in all: ${percent(weights[row])}`);
    return node("span", "", parts.join("  →  "));
  }

  function lastOf(row) {
    return steps.length ? steps.at(-1).after[row] : sums[row];
  }

  function top() {
    return told.open ? weights.indexOf(Math.max(...weights)) : null;
  }

  function under(event) {
    const over = event.target.closest?.(".strip");
    if (!over) return null;
    const kind = over.classList.contains("of-v") ? "v" : "k";
    return { kind, i: dimension(over, event.clientX, kind === "v" ? deep : width), row: Number(over.dataset.row) };
  }

  element.addEventListener("pointermove", (event) => {
    const found = under(event);
    if (found || pointed !== fixed) point(found);
  });
  element.addEventListener("pointerleave", () => point(null));
  element.addEventListener("click", (event) => {
    const found = under(event);
    if (found) point(found, true);
    const row = event.target.closest?.(".row.key")?.dataset.row;
    if (row !== undefined) choose(numbers[Number(row)]);
  });

  function q() {
    return `“${shorten(shown(query.text[number] ?? ""), 24)}”`;
  }

  return {
    element,
    stages,
    best: told.open ? `It looks most at ${name(top())}, ${percent(weights[top()])}.` : "It may see nothing.",
    // Shows what is known after a stage; null: all.
    reveal(to) {
      for (const one of element.querySelectorAll(".cell")) one.classList.toggle("later", to !== null && Number(one.dataset.stage) > to);
      for (const one of element.querySelectorAll(".cell")) one.classList.toggle("now", to !== null && Number(one.dataset.stage) === to);
    },
    // A key, by its place in the text; null: none.
    choose(place) {
      const row = place === null ? -1 : numbers.indexOf(place);
      picked = row >= 0 ? row : null;
      for (const one of element.querySelectorAll(".row.key")) one.classList.toggle("picked", Number(one.dataset.row) === row);
      point(fixed && picked !== null ? (fixed = { ...fixed, row: picked }) : pointed);
    },
    // The key before or after the chosen one, by its place in the text.
    beside(step) {
      const from = picked ?? (step > 0 ? -1 : rows);
      return numbers[Math.max(0, Math.min(from + step, rows - 1))];
    },
    point(next) {
      fixed = null;
      pointed = null;
      point(next);
    },
    // Goes to the dimension before or after.
    move(step) {
      const kind = pointed?.kind ?? "k";
      const count = kind === "k" ? width : deep;
      const i = pointed ? (pointed.i + step + count) % count : 0;
      fixed = null;
      point({ kind, i, row: pointed?.row ?? picked ?? top() ?? 0 }, true);
    },
  };
}

function labelled(title, text) {
  return [node("span", "label", title), node("span", "number", text)];
}

function result(x) {
  return node("strong", x < 0 ? "against" : "", decimal(x));
}

function stepTitle({ name, says }) {
  const found = /divided by √(\d+)/.exec(says);
  if (found) return `÷ √${found[1]}`;
  return name === "scale" ? says.replace("times", "×") : `+ ${name}`.replace("+ cap", "capped").replace("+ ALiBi", "− ALiBi");
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export function percent(x) {
  if (x >= 0.9995) return "100 %";
  if (x === 0) return "0 %";
  return x < 0.0005 ? "< 0.1 %" : `${(100 * x).toFixed(1)} %`;
}

export function decimal(x, digits = 2) {
  if (x === Infinity || x === -Infinity || Math.abs(x) > 1e30) return x < 0 ? "−∞" : "∞";
  if (x !== 0 && Math.abs(x) < 0.5 * 10 ** -digits) return x.toExponential(0).replace("-", "−").replace("e-", "e−");
  return (Math.abs(x) >= 1e5 ? x.toExponential(1) : x.toFixed(digits)).replace("-", "−");
}

function bracketed(x) {
  return x < 0 ? `(${decimal(x)})` : decimal(x);
}
