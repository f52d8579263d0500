// The one tooltip of the page: near the pointer, never under it, never outside the window.

export function createTooltip() {
  const element = document.createElement("div");
  element.className = "tooltip";
  element.setAttribute("role", "tooltip");
  element.hidden = true;
  document.body.append(element);
  return {
    // content: a node or text; x, y: as events have them in clientX and clientY
    show(content, x, y) {
      element.replaceChildren(content);
      element.hidden = false;
      const { width, height } = element.getBoundingClientRect();
      const right = x + 14 + width < innerWidth - 4 ? x + 14 : x - 14 - width;
      const below = y + 16 + height < innerHeight - 4 ? y + 16 : y - 12 - height;
      element.style.left = `${Math.max(4, right)}px`;
      element.style.top = `${Math.max(4, below)}px`;
    },
    hide() {
      element.hidden = true;
    },
  };
}
