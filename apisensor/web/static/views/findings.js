// What is wrong, the worst first.

import { get } from "../api.js";
import { findingColumns, findingHref } from "../columns.js";
import { address, add, h } from "../dom.js";
import { STATES, choice, empty, heading, load, pager, place, search, table } from "../parts.js";

const LIMIT = 50;
const LEAST = [["", "Any severity"], ["critical", "Critical"], ["high", "High and worse"], ["medium", "Medium and worse"], ["low", "Low and worse"]];

function nothing(query) {
  if (query.search || query.severity || query.rule || query.service) return empty("No finding fits", "Fewer filters show more.");
  if (query.state === "all") {
    return empty("Nothing was found yet", "Detectors watch for repeated authentication failures, unusual volumes of responses and credentials over plaintext.");
  }
  return empty(`No finding is ${(STATES[query.state] ?? STATES.open).toLowerCase()}`, "Others may be under another state above.");
}

export function show(view, { query, signal }) {
  const state = query.state ?? "open";
  const rows = place("table-tall", "panel", "flush");
  const states = h("nav", { class: "segments", "aria-label": "State" }, Object.entries({ ...STATES, all: "All" }).map(([value, text]) =>
    h("a", { id: `state-${value}`, href: address(["findings"], { ...query, cursor: null, at: null, state: value }), "aria-current": value === state ? "true" : null }, text)));
  add(view,
    heading("Findings"),
    h("div", { class: "bar-row", role: "search" }, states, search("Search titles  ( / )", query), choice("Severity", "severity", LEAST, query)),
    rows);
  load(rows, signal, async () => {
    const { at: _, ...asked } = query;
    const page = await get(["findings"], { ...asked, state: state === "all" ? null : state, limit: LIMIT }, signal);
    if (!page.rows.length) return nothing({ ...query, state });
    return [table({ caption: "Findings", columns: findingColumns, rows: page.rows, href: findingHref }), pager(page, query, LIMIT)];
  });
}
