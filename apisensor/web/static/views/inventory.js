// The API inventory: search, filters, order.

import { get } from "../api.js";
import { endpointColumns, endpointHref } from "../columns.js";
import { add, h } from "../dom.js";
import { change } from "../router.js";
import { METHODS, chip, choice, empty, heading, load, pager, place, search, table } from "../parts.js";

const LIMIT = 50;
const MOST_OWNERS = 200; // the busiest; the search finds the others
const ORDERS = { owner: "By service", count: "Most calls", errors: "Most errors", latency: "Slowest", last_seen: "Latest", first_seen: "Newest" };
const FILTERS = ["search", "side", "owner", "method", "sensitive", "unauthenticated", "errors"];

function nothing(query) {
  if (!FILTERS.some((name) => query[name])) {
    return empty("No endpoint yet", "Every HTTP call that a process of this node makes or serves adds its endpoint. ", h("a", { href: "/health" }, "Health"), " says what is seen of each process.");
  }
  return h("div", null, empty("No endpoint fits", "Fewer filters show more."),
    h("p", { class: "empty" }, h("button", { type: "button", onclick: () => change(Object.fromEntries(FILTERS.map((name) => [name, null]))) }, "Remove all filters")));
}

export function show(view, { query, signal }) {
  const owner = choice("Service or destination", "owner", [["", "Any service"], ...(query.owner ? [[query.owner, query.owner]] : [])], query);
  const rows = place("table-tall", "panel", "flush");
  add(view,
    heading("Inventory"),
    h("div", { class: "bar-row", role: "search" },
      search("Search routes  ( / )", query),
      owner,
      choice("Method", "method", [["", "Any method"], ...[...METHODS, "OTHER"].map((name) => [name, name])], query),
      choice("Order", "sort", Object.entries(ORDERS), { sort: query.sort ?? "owner" }),
      chip("Served here", "side", "server", query),
      chip("Outgoing", "side", "client", query),
      chip("Sensitive", "sensitive", "true", query),
      chip("No auth", "unauthenticated", "true", query),
      chip("Errors", "errors", "true", query)),
    rows);

  get(["owners"], {}, signal).then(({ owners }) => {
    const names = new Set(owners.filter((row) => row.endpoints && row.owner !== query.owner).map((row) => row.owner));
    add(owner, [...names].slice(0, MOST_OWNERS).map((name) => h("option", { value: name }, name)));
  }, () => null);
  load(rows, signal, async () => {
    const { at: _, ...asked } = query;
    const page = await get(["endpoints"], { ...asked, limit: LIMIT }, signal);
    if (!page.rows.length) return nothing(query);
    return [
      table({ caption: "Endpoints", columns: endpointColumns.filter((column) => column.sort !== (query.sort === "first_seen" ? "last_seen" : "first_seen")), rows: page.rows, href: endpointHref, sorted: query.sort ?? "owner" }),
      pager(page, query, LIMIT),
    ];
  });
}
