"use strict";

const PANEL_WIDTH = 300, PANEL_HEIGHT = 290, GAP_X = 64, GAP_Y = 96;

function ink(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Panels side by side where they have room, below each other where they have not.
function arrange(layout, width, below) {
  const panels = Object.keys(layout).filter((key) => /^xaxis\d*$/.test(key)).length;
  if (panels < 2) return;
  const most = Math.max(1, Math.floor(width / PANEL_WIDTH));
  const rows = Math.ceil(panels / most);
  const columns = Math.ceil(panels / rows);
  const gapX = GAP_X / width, height = rows * PANEL_HEIGHT, gapY = GAP_Y / height;
  for (let index = 0; index < panels; index += 1) {
    const column = index % columns, row = Math.floor(index / columns);
    const wide = (1 - gapX * (columns - 1)) / columns, high = (1 - gapY * (rows - 1)) / rows;
    const left = column * (wide + gapX), top = 1 - row * (high + gapY);
    const suffix = index ? String(index + 1) : "";
    layout["xaxis" + suffix].domain = [left, Math.min(1, left + wide)];
    layout["yaxis" + suffix].domain = [Math.max(0, top - high), top];
    Object.assign(layout.annotations[index], { x: left, y: top, xanchor: "left", yanchor: "bottom" });
  }
  layout.height = height + below + 40;
}

// Room for the axis title and the lines of the legend.
function roomBelow(figure, width) {
  const entries = figure.data.filter((trace) => trace.showlegend !== false).length;
  return 56 + 20 * Math.ceil(entries / Math.max(1, Math.floor(width / 190)));
}

function themed(figure, width) {
  const layout = structuredClone(figure.layout);
  const below = roomBelow(figure, width);
  arrange(layout, width, below);
  for (const key of Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name))) {
    Object.assign(layout[key], {
      gridcolor: ink("--line"), zerolinecolor: ink("--line"), linecolor: ink("--line"),
    });
    if (layout[key].title) Object.assign(layout[key].title, { standoff: 6, font: { size: 12.5 } });
  }
  return Object.assign(layout, {
    template: undefined, autosize: true, width: undefined,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: ink("--sans"), size: 12.5, color: ink("--ink") },
    hoverlabel: { bgcolor: ink("--raised"), bordercolor: ink("--line"), font: { color: ink("--ink") } },
    legend: { orientation: "h", x: 0, y: 0, yref: "container", yanchor: "bottom" },
    margin: { l: 52, r: 12, t: 32, b: below },
  });
}

function draw(element) {
  const figure = JSON.parse(document.getElementById(element.dataset.figure).textContent);
  const options = { displayModeBar: false, responsive: false };
  Plotly.react(element, figure.data, themed(figure, element.clientWidth), options);
  element.dataset.drawn = element.clientWidth;
}

const plots = document.querySelectorAll("[data-figure]");
plots.forEach(draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => plots.forEach(draw));
addEventListener("resize", () => plots.forEach((plot) => {
  if (Number(plot.dataset.drawn) !== plot.clientWidth) draw(plot);
}));
