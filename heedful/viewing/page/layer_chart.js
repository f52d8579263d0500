// Lines over layers, as SVG: one that is looked at, the others pale.

const NAMESPACE = "http://www.w3.org/2000/svg";
const [HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [224, 38, 12, 12, 38];

// series: [{name, chosen, values}], values between -1 and 1, one for each layer from 0
export function layerChart(series, width, tooltip) {
  const layers = series[0].values.length;
  const least = Math.min(0, Math.floor(5 * Math.min(...series.flatMap(({ values }) => values))) / 5);
  const x = (layer) => LEFT + (layer * (width - LEFT - RIGHT)) / Math.max(1, layers - 1);
  const y = (value) => TOP + ((1 - value) * (HEIGHT - TOP - BOTTOM)) / (1 - least);
  const svg = element("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, class: "layer-chart", role: "img" });
  const own = series.find(({ chosen }) => chosen);
  svg.append(Object.assign(element("title"), { textContent: `Cosine of ${own.name} over layers: ${own.values.map((value) => value.toFixed(2)).join(", ")}` }));
  for (let value = 1; value >= least - 1e-9; value -= value > 0.5 || least === 0 ? 0.5 : 0.5) {
    svg.append(element("line", { x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value), class: "rule" }), text(value.toFixed(1).replace("-", "−"), LEFT - 8, y(value) + 4, "end"));
  }
  const step = Math.ceil(layers / 13);
  for (let layer = 0; layer < layers; layer += step) svg.append(text(layer === 0 ? "read" : String(layer), x(layer), HEIGHT - 18, "middle"));
  svg.append(text("layer", width - RIGHT, HEIGHT - 4, "end"));
  for (const one of [...series].sort((a, b) => a.chosen - b.chosen)) {
    const points = one.values.map((value, layer) => `${x(layer).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    const line = element("polyline", { points, class: one.chosen ? "chosen" : "pale" });
    line.addEventListener("pointermove", (event) => tooltip.show(`${one.name}: ${one.values.map((value) => value.toFixed(2)).join(", ")}`, event.clientX, event.clientY));
    line.addEventListener("pointerleave", () => tooltip.hide());
    svg.append(line);
  }
  own.values.forEach((value, layer) => svg.append(element("circle", { cx: x(layer), cy: y(value), r: 3, class: "dot" })));
  return svg;
}

function text(words, x, y, anchor) {
  return Object.assign(element("text", { x, y, "text-anchor": anchor }), { textContent: words });
}

function element(name, attributes = {}) {
  const made = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
