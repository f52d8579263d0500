// The tabs of the views, as screen readers and keyboards know tabs: arrows move, Home and End go to the ends.

export function createTabs(container, panel, views, choose) {
  const buttons = views.map((view) => {
    const button = document.createElement("button");
    button.type = "button";
    button.id = `tab-${view.name}`;
    button.setAttribute("role", "tab");
    button.setAttribute("aria-controls", panel.id);
    button.textContent = view.title;
    button.addEventListener("click", () => choose(view.name));
    return button;
  });
  container.append(...buttons);
  container.addEventListener("keydown", (event) => {
    const at = buttons.indexOf(document.activeElement);
    const moves = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: buttons.length - 1 };
    if (at < 0 || !(event.key in moves)) return;
    event.preventDefault();
    const next = (moves[event.key] + buttons.length) % buttons.length;
    buttons[next].focus();
    choose(views[next].name);
  });

  return {
    // available: (view) => true or why not
    show(name, available) {
      views.forEach((view, i) => {
        const selected = view.name === name;
        const can = available(view);
        buttons[i].setAttribute("aria-selected", String(selected));
        buttons[i].tabIndex = selected ? 0 : -1;
        buttons[i].classList.toggle("without", can !== true);
        buttons[i].title = can === true ? view.hint : can;
        if (selected) {
          panel.setAttribute("aria-labelledby", buttons[i].id);
          if (container.scrollWidth > container.clientWidth) {
            container.scrollTo({ left: buttons[i].offsetLeft - container.clientWidth / 3 });
          }
        }
      });
    },
  };
}
