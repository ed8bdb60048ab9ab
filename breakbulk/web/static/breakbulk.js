// Everything here is a comfort: without it the pages work all the same.
"use strict";

// The last look's tag goes along, so that an unchanged page is not sent again.
document.addEventListener("htmx:config:request", (event) => {
  const { ctx } = event.detail;
  const tag = ctx.sourceElement.dataset.tag;
  if (tag) ctx.request.headers["HX-PTag"] = tag;
});

// Nobody looks at a hidden tab, and what is being typed or read must not be taken away.
document.addEventListener("htmx:before:request", (event) => {
  const source = event.detail.ctx.sourceElement;
  if (!source.classList.contains("live")) return;
  if (document.hidden || source.querySelector("details[open]")) event.preventDefault();
});

// A server that stumbles leaves what was shown, marked as old.
document.addEventListener("htmx:before:swap", (event) => {
  const { ctx } = event.detail;
  const failed = ctx.response && ctx.response.status >= 400;
  if (ctx.sourceElement.classList.contains("live")) {
    ctx.sourceElement.classList.toggle("stale", Boolean(failed));
    if (failed) event.preventDefault();
  }
});
document.addEventListener("htmx:error", (event) => {
  const source = event.detail.ctx && event.detail.ctx.sourceElement;
  if (source && source.classList.contains("live")) source.classList.add("stale");
});

// Choices are kept as soon as they are made.
document.addEventListener("change", (event) => {
  const form = event.target.closest && event.target.closest("form.preferences");
  if (form) form.requestSubmit();
});

// The pace, to be read off.
const charts = new WeakMap();

// Of the clock only what tells neighbours apart; by the day, the date.
function times(_chart, splits, _axis, _space, step) {
  const [from, to] = step >= 86400 ? [0, 10] : [11, step >= 60 ? 16 : 19];
  return splits.map((seconds) => new Date(seconds * 1000).toISOString().slice(from, to));
}

function draw(figure) {
  const place = figure.querySelector(".uplot-here");
  if (!place || typeof uPlot === "undefined") return;
  const { at, rate, failures: counted } = JSON.parse(figure.dataset.series);
  // Where nothing has failed there is no bar, not even a flat one.
  const failures = counted.map((count) => count || null);
  const known = charts.get(place);
  if (known) {
    known.setData([at, rate, failures]);
    return;
  }
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = { stroke: colour("--bb-muted"), grid: { stroke: colour("--bb-line"), width: 1 } };
  const chart = new uPlot(
    {
      width: figure.clientWidth,
      height: 200,
      padding: [8, 28, 0, 0],
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: { failed: { range: (_chart, _low, high) => [0, Math.max(high * 3, 1)] }, y: { range: (_chart, _low, high) => [0, Math.max(high * 1.05, 1)] } },
      axes: [{ ...axis, values: times, space: 90 }, { ...axis, size: 64 }],
      series: [
        { value: (_chart, seconds) => (seconds == null ? "–" : new Date(seconds * 1000).toISOString().slice(0, 19).replace("T", " ")) },
        { label: `${figure.dataset.noun}s/s`, stroke: colour("--bb-running"), fill: colour("--bb-area"), width: 2, points: { show: false } },
        { label: "failed attempts", scale: "failed", stroke: colour("--bb-failed"), fill: colour("--bb-failed"), width: 1, paths: uPlot.paths.bars({ size: [0.8, 12] }), points: { show: false } },
      ],
    },
    [at, rate, failures],
    place,
  );
  charts.set(place, chart);
  document.documentElement.classList.add("charts");
  new ResizeObserver(() => chart.setSize({ width: figure.clientWidth, height: 200 })).observe(figure);
}

function drawAll() {
  document.querySelectorAll("figure.chart").forEach(draw);
}
document.addEventListener("htmx:after:swap", drawAll);
document.addEventListener("DOMContentLoaded", drawAll);
if (document.readyState !== "loading") drawAll();

// / goes to the first filter, g o, g r, g j and g w to the pages.
let gone = 0;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea")) return;
  if (event.key === "g") {
    gone = Date.now();
    return;
  }
  if (Date.now() - gone < 1000) {
    const place = { o: 1, r: 2, j: 3, w: 4 }[event.key];
    const link = place && document.querySelector(`.top nav li:nth-child(${place}) a`);
    if (link) link.click();
  } else if (event.key === "/") {
    const field = document.querySelector(".filter select, .filter input");
    if (field) {
      field.focus();
      event.preventDefault();
    }
  }
});
