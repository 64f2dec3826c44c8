// What happened lately, and what to look at first.

import { get } from "../api.js";
import { traffic } from "../charts.js";
import { endpointHref, findingHref } from "../columns.js";
import { concerns } from "../concerns.js";
import { address, add, h } from "../dom.js";
import { number, when } from "../format.js";
import { bars, empty, heading, load, method, panel, place, raw, severity } from "../parts.js";

const RANGES = { 1: "1 h", 24: "24 h", 168: "7 d", 720: "30 d" };
const SEVERITIES = ["critical", "high", "medium", "low", "info"];
const SHOWN = 7;

function card(label, figure, note, href) {
  return h(href ? "a" : "div", { class: "card", href },
    h("span", { class: "label" }, label), h("span", { class: "figure" }, figure), h("span", { class: "note" }, note));
}

function cards(seen) {
  const open = SEVERITIES.filter((name) => seen.open_findings[name]);
  const all = open.reduce((sum, name) => sum + seen.open_findings[name], 0);
  const worst = open.length ? [h("b", null, `${seen.open_findings[open[0]]} ${open[0]}`), open[1] ? `, ${seen.open_findings[open[1]]} ${open[1]}` : ""] : "nothing is wrong as far as is known";
  return h("div", { class: "cards" },
    card("Open findings", number(all), worst, "/findings?state=open"),
    card("Exposed", number(seen.exposed_endpoints), "sensitive and open", "/inventory?unauthenticated=true&sensitive=true"),
    card("Unauthenticated", number(seen.unauthenticated_endpoints), "need no credential", "/inventory?unauthenticated=true"),
    card("Sensitive data", number(seen.sensitive_endpoints), "endpoints carry it", "/inventory?sensitive=true"),
    card("Endpoints", number(seen.endpoints), [h("b", null, seen.new_endpoints), " new in this time"], "/inventory?sort=first_seen"),
    card("Calls", number(seen.calls), `in the last ${RANGES[seen.hours] ?? `${seen.hours} h`}`, "/transactions"));
}

function findingList(rows) {
  if (!rows.length) return empty("No open finding", "What the detectors find appears here and under ", h("a", { href: "/findings" }, "Findings"), ".");
  return h("ul", { class: "rows" }, rows.map((row) => h("li", null,
    severity(row.severity),
    h("span", { class: "rows-main" },
      h("a", { href: findingHref(row), class: "row-link" }, h("span", { class: "cut" }, row.title)),
      h("span", { class: "below muted" }, row.service ? [row.service, " · "] : "", raw(row.route ?? row.client, ""))),
    when(row.last_seen))));
}

function endpointList(rows) {
  if (!rows.length) return empty("No endpoint yet", "As soon as a call is captured, its endpoint is listed here.");
  return h("ul", { class: "rows" }, rows.map((row) => h("li", null,
    method(row.method),
    h("span", { class: "rows-main" },
      h("a", { href: endpointHref(row), class: "row-link" }, raw(row.route, "cut")),
      h("span", { class: "below muted" }, raw(row.owner))),
    when(row.first_seen))));
}

function concerned(sentences) {
  if (!sentences.length) return null;
  return h("div", { class: "notice" }, h("strong", null, "Look at the sensor itself: "), sentences.join("; "), ". ", h("a", { href: "/health" }, "Health"), " says more.");
}

/** What the page shows unasked: a day, or the last hour while there is nothing older to show. */
async function unasked(signal) {
  const [hour, day] = await Promise.all([1, 24].map((hours) => get(["overview"], { hours }, signal)));
  return hour.calls === day.calls ? hour : day;
}

export function show(view, { query, signal }) {
  const asked = RANGES[query.hours] ? Number(query.hours) : null;
  const [top, chart, findings, fresh, busy] = [place("cards-tall"), place("chart-tall"), place("list-tall"), place("list-tall"), place("list-tall")];
  const ranges = h("nav", { class: "segments", "aria-label": "Time" }, Object.entries(RANGES).map(([value, text]) =>
    h("a", { id: `time-${value}`, href: address([], { hours: value }), "aria-current": Number(value) === asked ? "true" : null }, text)));
  const mark = ({ hours }) => [...ranges.children].forEach((link) => link.id === `time-${hours}` ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current"));
  const notice = h("div", { class: "noticed" });
  add(view,
    heading("Overview", ranges),
    notice,
    top,
    h("section", { class: "panel" }, h("h2", { class: "sr" }, "Traffic"), chart),
    h("div", { class: "columns" },
      h("div", { class: "view" }, panel("Open findings", findings), panel("Busiest services", busy)),
      panel("Newest endpoints", fresh)));

  const refresh = () => {
    const seen = asked ? get(["overview"], { hours: asked }, signal) : unasked(signal);
    seen.then(mark, () => null); // where it fails, each part of the view says so
    load(notice, signal, async () => concerned(await concerns(signal)));
    load(top, signal, async () => cards(await seen));
    load(chart, signal, async () => {
      const { traffic: points, step, calls, hours } = await seen;
      if (!calls) return empty("No calls in this time", "Make one (", h("code", null, "curl https://..."), " on this node), or choose a longer time. ", h("a", { href: "/health" }, "Health"), " says what is seen of each process.");
      const until = Math.floor(Date.now() / 1000) + 1;
      return traffic(points, { since: until - hours * 3_600, until, step });
    });
    load(busy, signal, async () => {
      const { services, unmatched } = await seen;
      const rest = Object.values(unmatched).reduce((sum, count) => sum + count, 0);
      return [
        services.length ? bars(Object.fromEntries(services), { href: (owner) => address(["inventory"], { owner }) }) : empty("No service yet", "Services appear with their first call."),
        rest ? h("p", { class: "muted more" }, number(rest), " calls belong to no endpoint (404 of scans and the like)") : null,
      ];
    });
    load(findings, signal, async () => findingList((await get(["findings"], { state: "open", limit: SHOWN }, signal)).rows));
    load(fresh, signal, async () => endpointList((await get(["endpoints"], { sort: "first_seen", limit: SHOWN }, signal)).rows));
  };
  refresh();
  const timer = setInterval(() => document.hidden || refresh(), 60_000);
  signal.addEventListener("abort", () => clearInterval(timer));
}
