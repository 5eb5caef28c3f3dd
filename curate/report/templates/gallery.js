"use strict";
// The gallery: filtered with the map, and a dialog with all that is known of a chip.
(() => {
  const element = document.getElementById("gallery-data"), by = (id) => document.getElementById(id);
  if (!element || !by("gallery")) return;
  const { names, chips } = JSON.parse(element.textContent);
  const buttons = [...document.querySelectorAll(".pair")], dialog = by("chip");
  let current = 0;

  map.then((drawn) => drawn && drawn.listen((want, passes) => {
    let shown = 0;
    buttons.forEach((button, i) => {
      button.hidden = !Object.keys(want).every((name) => passes(want[name], chips[i][name]));
      if (!button.hidden) shown++;
    });
    by("gallery-count").textContent = `${shown} of ${buttons.length} pairs`;
  }), () => {});

  function make(tag, text, name) {
    const node = document.createElement(tag);
    if (text !== undefined) node.textContent = text;
    if (name) node.className = name;
    return node;
  }
  function show(index) {
    current = index;
    const chip = chips[index];
    by("chip-title").textContent = chip.id;
    by("chip-pictures").replaceChildren(...[...buttons[index].querySelectorAll("img")].map((img, i) => {
      const figure = make("figure"), copy = img.cloneNode();
      figure.append(copy, make("figcaption", names[i]));
      return figure;
    }));
    by("chip-facts").replaceChildren(...chip.groups.filter(([, facts]) => facts.length).map(([name, facts]) => {
      const part = make("div"), list = make("dl", undefined, "listing");
      facts.forEach(([key, value]) => list.append(make("dt", key.replaceAll("_", " ")), make("dd", value)));
      part.append(make("h3", name), list);
      return part;
    }));
    if (!dialog.open) dialog.showModal();
  }
  function step(by) {
    const open = buttons.map((b, i) => i).filter((i) => !buttons[i].hidden);
    show(open[(open.indexOf(current) + by + open.length) % open.length]);
  }
  buttons.forEach((button, i) => button.addEventListener("click", () => show(i)));
  by("previous").addEventListener("click", () => step(-1));
  by("next").addEventListener("click", () => step(1));
  by("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => buttons[current].focus());
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
})();
