"use strict";

document.querySelectorAll("[data-viewer]").forEach((viewer) => {
  const tokens = [...viewer.querySelectorAll(".token")], cells = [...viewer.querySelectorAll(".cell")];
  const slider = viewer.querySelector("input"), shown = viewer.querySelector("output");
  const speed = viewer.querySelector("[data-speed]"), panel = viewer.querySelector(".look");
  const button = viewer.querySelector("[data-do=play]"), last = Number(slider.max);
  let timer = null, looked = -1;

  function current() {
    return Number(slider.value);
  }

  function show(step) {
    slider.value = String(step);
    shown.textContent = slider.value;
    [...tokens, ...cells].forEach((part) => {
      const revealed = Number(part.dataset.step);
      part.classList.toggle("masked", revealed >= current());
      part.classList.toggle("fresh", revealed >= 0 && revealed === current() - 1 && current() < last);
    });
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    button.textContent = "Play";
  }

  function advance() {
    show(current() + 1);
    if (current() === last) pause();
  }

  function play() {
    if (current() === last) show(0);
    timer = setInterval(advance, 1000 / Number(speed.value));
    button.textContent = "Pause";
  }

  function element(name, text, parent) {
    const made = document.createElement(name);
    made.textContent = text;
    parent.append(made);
    return made;
  }

  // Texts of tokens are shown as literals: line ends and spaces are tokens too.
  function look(index) {
    [tokens, cells].forEach((parts) => {
      parts[looked]?.classList.remove("looked");
      parts[index]?.classList.add("looked");
    });
    looked = index;
    panel.replaceChildren();
    const token = tokens[index];
    if (!token) return;
    const step = Number(token.dataset.step), probability = token.dataset.probability;
    const when = step < 0 ? "given" : `revealed at step ${step + 1}`;
    const share = probability === undefined ? "" : `, probability ${percent(probability)}`;
    element("p", `${JSON.stringify(token.textContent)}: position ${index + 1}, ${when}${share}`, panel);
    const list = element("ol", "", panel);
    JSON.parse(token.dataset.alternatives).forEach(([text, value]) => {
      const item = element("li", "", list);
      element("code", JSON.stringify(text), item);
      element("span", percent(value), item).className = "share";
      const bar = element("span", "", element("span", "", item));
      bar.className = "bar";
      bar.style.width = `${100 * value}%`;
    });
  }

  function percent(value) {
    return `${(100 * Number(value)).toFixed(1)}%`;
  }

  const actions = {
    first: () => { pause(); show(0); },
    back: () => { pause(); show(Math.max(0, current() - 1)); },
    play: () => (timer === null ? play() : pause()),
    forward: () => { pause(); show(Math.min(last, current() + 1)); },
    last: () => { pause(); show(last); },
    previous: () => look(Math.max(0, looked - 1)),
    next: () => look(Math.min(tokens.length - 1, looked + 1)),
  };
  const keys = {
    " ": "play", ArrowLeft: "back", ArrowRight: "forward", Home: "first", End: "last",
    ArrowUp: "previous", ArrowDown: "next",
  };

  viewer.querySelectorAll("[data-do]").forEach((control) => {
    control.addEventListener("click", actions[control.dataset.do]);
  });
  slider.addEventListener("input", () => { pause(); show(current()); });
  speed.addEventListener("change", () => {
    if (timer === null) return;
    pause();
    play();
  });
  viewer.addEventListener("keydown", (event) => {
    const own = event.target.matches("select") || (event.key === " " && event.target.matches("button"));
    if (!keys[event.key] || own || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    actions[keys[event.key]]();
  });
  [tokens, cells].forEach((parts) => parts.forEach((part, index) => {
    part.addEventListener("mouseenter", () => look(index));
  }));
  cells.forEach((cell) => cell.addEventListener("click", () => {
    pause();
    show(Number(cell.dataset.step) + 1);
  }));
});
