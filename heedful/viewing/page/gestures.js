// What hands do to a map: wheel, drag, two fingers, double click and keys, as zoom, shift, hover, fix and step.
//
// target has zoom(factor, x, y), whole(), shift(dx, dy), hover(x, y, clientX, clientY), cell(x, y), fix(cell), step(rows,
// columns); x and y are pixels of the stage. Gives what ends it.

const CLICK = 5; // pixels that a click may tremble

export function follow(stage, target) {
  const pointers = new Map();
  let dragged = 0;
  let spread = 0;

  const at = (event) => {
    const box = stage.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  stage.addEventListener(
    "wheel",
    (event) => {
      const [x, y] = at(event);
      const out = event.deltaY > 0;
      // With nothing farther to go to, and beside the picture, the page scrolls.
      if ((out && target.camera.zoom === null && !event.ctrlKey) || !target.cell(x, y)) return;
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 100 : 1;
      const step = Math.max(-160, Math.min(160, event.deltaY * lines));
      target.zoom(Math.exp(-step * (event.ctrlKey ? 0.01 : 0.0022)), x, y);
    },
    { passive: false },
  );

  stage.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    pointers.set(event.pointerId, at(event));
    if (pointers.size === 1) dragged = 0;
    if (pointers.size === 2) spread = distance(pointers);
  });

  stage.addEventListener("pointermove", (event) => {
    const now = at(event);
    // A button that was let go beside the stage: it is told of that only while it drags.
    if (event.pointerType !== "touch" && !event.buttons) pointers.delete(event.pointerId);
    const before = pointers.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") target.hover(...now, event.clientX, event.clientY);
      return;
    }
    pointers.set(event.pointerId, now);
    if (pointers.size === 2) {
      dragged = Infinity;
      const next = distance(pointers);
      const [[ax, ay], [bx, by]] = [...pointers.values()];
      if (spread > 0) target.zoom(next / spread, (ax + bx) / 2, (ay + by) / 2);
      target.shift((now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
      spread = next;
      return;
    }
    dragged += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (dragged <= CLICK) return;
    if (!stage.hasPointerCapture(event.pointerId)) stage.setPointerCapture(event.pointerId);
    stage.classList.add("dragged");
    target.hover(null);
    target.shift(now[0] - before[0], now[1] - before[1]);
  });

  const end = (event) => {
    if (!pointers.delete(event.pointerId)) return;
    stage.classList.remove("dragged");
    if (event.type === "pointercancel" || pointers.size || dragged > CLICK) return;
    const cell = target.cell(...at(event));
    if (cell) target.fix(cell);
    if (cell && event.pointerType === "touch") target.hover(...at(event), event.clientX, event.clientY);
  };
  stage.addEventListener("pointerup", end);
  stage.addEventListener("pointercancel", end);
  stage.addEventListener("pointerleave", (event) => event.pointerType !== "touch" && target.hover(null));
  stage.addEventListener("dblclick", (event) => {
    event.preventDefault();
    target.zoom(event.shiftKey ? 0.4 : 2.5, ...at(event));
  });

  // Wherever the focus is, but where keys mean something else.
  function pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest?.("input, textarea, select, dialog")) return;
    const arrow = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (arrow && event.target.closest?.("[role=tab]")) return;
    if (arrow && event.shiftKey) target.shift(-arrow[1] * 80, -arrow[0] * 80);
    else if (arrow) target.step(...arrow);
    else if (event.key === "+" || event.key === "=") target.zoom(1.5);
    else if (event.key === "-" || event.key === "_") target.zoom(1 / 1.5);
    else if (event.key === "0") target.whole();
    else if (event.key === "Escape") target.fix(null);
    else return;
    event.preventDefault();
  }
  addEventListener("keydown", pressed);
  return () => removeEventListener("keydown", pressed);
}

function distance(pointers) {
  const [[ax, ay], [bx, by]] = [...pointers.values()];
  return Math.hypot(ax - bx, ay - by);
}
