// Charts as SVG, drawn at the width they have. Each has a name, a summary for those who do not see it, and a table.

import { fill, h, s } from "./dom.js";
import { full, ms, percent, short } from "./format.js";

const HEIGHT = 180;
const MARGIN = { left: 52, right: 8, top: 8, bottom: 22 };
const time = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

/** Values at which an axis is marked: 1, 2, 5 times a power of ten, and not below `least`. */
function marks(largest, least, count = 4) {
  const rough = largest / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(least, power * ([1, 2, 5, 10].find((n) => n * power >= rough) ?? 10));
  const found = [];
  for (let value = 0; value < largest + step; value += step) found.push(value);
  return found;
}

/** Steps without calls are left out of an answer, and the store may have rounded the step up to whole hours. */
function everyStep(points, { since, until, step: asked }) {
  const hours = Math.ceil(asked / 3_600) * 3_600;
  const fits = (step) => points.every((point) => point.time % step === 0);
  const step = !fits(asked) || (points.length > 2 && fits(hours)) ? hours : asked;
  const known = new Map(points.map((point) => [point.time, point]));
  const all = [];
  for (let time = Math.floor(since / step) * step; time < until; time += step) {
    all.push(known.get(time) ?? { time, count: 0, errors: 0, p50_ms: null, p95_ms: null });
  }
  return { points: all, step };
}

function moment(seconds, step) {
  const date = new Date(seconds * 1000);
  return step >= 7_200 ? `${day.format(date)} ${time.format(date)}` : time.format(date);
}

/** The frame of a chart over time; `draw(scales)` gives its content, `read(point)` what the pointer shows. */
function chart(title, { points, step }, { largest, least, unit, draw, read, summary, columns, legend }) {
  const picture = h("div", { class: "plot" });
  const shown = h("output", { class: "readout" }, summary);
  const paint = () => {
    const width = Math.max(280, picture.clientWidth);
    const at = marks(largest, least);
    const top = at.at(-1);
    const inner = { width: width - MARGIN.left - MARGIN.right, height: HEIGHT - MARGIN.top - MARGIN.bottom };
    const x = (index) => MARGIN.left + (index / Math.max(1, points.length)) * inner.width;
    const y = (value) => MARGIN.top + inner.height * (1 - value / top);
    const band = inner.width / Math.max(1, points.length);
    const every = Math.ceil(points.length / Math.max(2, Math.floor(inner.width / (step >= 7_200 ? 120 : 80))));
    const cursor = s("rect", { class: "cursor", y: MARGIN.top, height: inner.height, width: Math.max(1, band), x: -99 });
    fill(picture, s("svg", {
      viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": `${title}. ${summary}`,
      onpointermove: (event) => {
        const place = event.currentTarget.getBoundingClientRect();
        const index = Math.floor((event.clientX - place.left - MARGIN.left) / band);
        if (!points[index]) return;
        cursor.setAttribute("x", x(index));
        shown.textContent = `${moment(points[index].time, step)}: ${read(points[index])}`;
      },
      onpointerleave: () => {
        cursor.setAttribute("x", -99);
        shown.textContent = summary;
      },
    },
    at.map((value) => [
      s("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
      s("text", { class: "axis", x: MARGIN.left - 6, y: y(value) + 3.5, "text-anchor": "end" }, value ? unit(value) : "0"),
    ]),
    cursor,
    draw({ x, y, band, base: y(0) }),
    points.map((point, index) => index % every === 0 && x(index) < width - (step >= 7_200 ? 84 : 44)
      ? s("text", { class: "axis", x: x(index), y: HEIGHT - 6 }, moment(point.time, step)) : null)));
  };
  new ResizeObserver(paint).observe(picture);
  return h("figure", { class: "chart" },
    h("figcaption", null, h("span", null, title), legend, shown),
    picture,
    h("details", { class: "as-table" }, h("summary", null, "As a table"), dataTable(title, points, step, columns)));
}

function dataTable(title, points, step, columns) {
  return h("div", { class: "scroll low", tabindex: "0", role: "region", "aria-label": `${title}, as a table` },
    h("table", null,
      h("thead", null, h("tr", null, h("th", { scope: "col" }, "Time"), columns.map(([name]) => h("th", { scope: "col", class: "number" }, name)))),
      h("tbody", null, points.map((point) => h("tr", null,
        h("th", { scope: "row" }, moment(point.time, step)), columns.map(([, value]) => h("td", { class: "number" }, value(point))))))));
}

function legendOf(entries) {
  return h("span", { class: "legend" }, entries.map(([kind, text]) => h("span", { class: kind }, text)));
}

/** Calls and errors over time; `range` is {since, until, step}, Unix seconds. */
export function traffic(given, range) {
  const over = everyStep(given, range);
  const { points } = over;
  const calls = points.reduce((sum, point) => sum + point.count, 0);
  const errors = points.reduce((sum, point) => sum + point.errors, 0);
  return chart("Calls", over, {
    largest: Math.max(1, ...points.map((point) => point.count)),
    least: 1,
    unit: short,
    summary: calls ? `${full(calls)} calls, ${percent(errors, calls)} errors` : "no calls in this time",
    read: (point) => `${full(point.count)} calls, ${full(point.errors)} errors`,
    columns: [["Calls", (point) => full(point.count)], ["Errors", (point) => full(point.errors)]],
    legend: legendOf([["l-calls", "answered"], ["l-errors", "errors"]]),
    draw: ({ x, y, band, base }) => points.map((point, index) => {
      const width = Math.max(1, band - (band > 4 ? 1.5 : 0.5));
      return [
        point.count ? s("rect", { class: "calls", x: x(index), width, y: y(point.count), height: base - y(point.count) }) : null,
        point.errors ? s("rect", { class: "errors", x: x(index), width, y: Math.min(y(point.errors), base - 1.5), height: Math.max(1.5, base - y(point.errors)) }) : null,
      ];
    }),
  });
}

/** Median and 95th percentile of latency over time; a gap where there were no calls. */
export function latency(given, range) {
  const over = everyStep(given, range);
  const { points } = over;
  const known = points.filter((point) => point.p95_ms !== null);
  const lone = (name, index) => points[index][name] !== null && points[index - 1]?.[name] == null && points[index + 1]?.[name] == null;
  const line = (name, { x, y, band }) => {
    let path = "";
    let drawing = false;
    const dots = [];
    points.forEach((point, index) => {
      if (point[name] !== null) {
        const [cx, cy] = [(x(index) + band / 2).toFixed(1), y(point[name]).toFixed(1)];
        if (lone(name, index)) dots.push(s("circle", { class: `dot ${name}`, cx, cy, r: 2.5 }));
        else path += `${drawing ? "L" : "M"}${cx} ${cy}`;
      }
      drawing = point[name] !== null;
    });
    return [s("path", { class: `line ${name}`, d: path }), dots];
  };
  const worst = known.length ? Math.max(...known.map((point) => point.p95_ms)) : 0;
  return chart("Latency", over, {
    largest: worst || 1,
    least: 0,
    unit: ms,
    summary: known.length ? `95 % of the calls within ${ms(worst)} at worst` : "no calls in this time",
    read: (point) => point.p95_ms === null ? "no calls" : `half within ${ms(point.p50_ms)}, 95 % within ${ms(point.p95_ms)}`,
    columns: [["p50", (point) => ms(point.p50_ms)], ["p95", (point) => ms(point.p95_ms)]],
    legend: legendOf([["l-p50", "p50"], ["l-p95", "p95"]]),
    draw: (scales) => [line("p95_ms", scales), line("p50_ms", scales)],
  });
}

/** A whole in parts: [[name, count, class]]. */
export function parts(title, entries) {
  const whole = entries.reduce((sum, [, count]) => sum + count, 0);
  const strip = h("div", { class: "strip", role: "img", "aria-label": `${title}: ${entries.map(([name, count]) => `${name} ${percent(count, whole)}`).join(", ")}` },
    entries.map(([, count, kind]) => {
      const part = h("span", { class: kind });
      part.style.flexGrow = String(Math.max(count, whole / 200));
      return part;
    }));
  return h("div", null, strip, h("ul", { class: "strip-legend" }, entries.map(([name, count, kind]) =>
    h("li", null, h("span", { class: `swatch ${kind}`, "aria-hidden": "true" }), name,
      h("span", { class: "muted number", title: full(count) }, percent(count, whole))))));
}
