// Stored transactions, the newest first.

import { get } from "../api.js";
import { transactionColumns, transactionHref } from "../columns.js";
import { add, h } from "../dom.js";
import { when } from "../format.js";
import { change } from "../router.js";
import { METHODS, chip, choice, empty, heading, load, pager, place, raw, search, table } from "../parts.js";

const LIMIT = 50;
const GIVEN = { endpoint: "Endpoint", identity: "Identity", client: "Client", trace_id: "Trace" };
const MOST_SERVICES = 200; // the busiest

function given(query) {
  return Object.entries(GIVEN).filter(([name]) => query[name]).map(([name, text]) =>
    h("button", { type: "button", class: "chip", "aria-pressed": "true", title: "Remove this filter", onclick: () => change({ [name]: null }) },
      `${text}: `, raw(query[name].slice(0, 40)), " ×"));
}

export function show(view, { query, signal }) {
  const service = choice("Service", "service", [["", "Any service"], ...(query.service ? [[query.service, query.service]] : [])], query);
  const rows = place("table-tall", "panel", "flush");
  add(view,
    heading("Transactions", h("span", { class: "muted" }, "Stored ones; ", h("a", { href: "/live" }, "Live"), " shows them as they happen")),
    h("div", { class: "bar-row", role: "search" },
      search("Search paths  ( / )", query),
      service,
      choice("Method", "method", [["", "Any method"], ...METHODS.map((name) => [name, name])], query),
      ["2xx", "4xx", "5xx"].map((status) => chip(status, "status", status, query)),
      chip("No response", "status", "none", query),
      chip("Both views of a call", "all_views", "true", query),
      given(query)),
    rows);
  get(["owners"], {}, signal).then(({ owners }) => {
    const names = new Set(owners.filter((row) => row.side === "server" && row.owner !== query.service).map((row) => row.owner));
    add(service, [...names].slice(0, MOST_SERVICES).map((name) => h("option", { value: name }, name)));
  }, () => null);
  load(rows, signal, async () => {
    const { at: _, ...asked } = query;
    const page = await get(["transactions"], { ...asked, limit: LIMIT }, signal);
    const early = page.searched_to
      ? h("p", { class: "empty" }, "Searched back to ", when(page.searched_to), ". ", h("button", { type: "button", data: { key: "n" }, onclick: () => change({ cursor: page.next, at: Number(query.at ?? 0) + page.rows.length }) }, "Search further back"))
      : null;
    if (!page.rows.length) {
      if (early) return early;
      return Object.keys(asked).length
        ? empty("No stored transaction fits", "Fewer filters show more.")
        : empty("No transaction is stored yet", "Make a call on this node, such as ", h("code", null, "curl https://..."), ".");
    }
    return [table({ caption: "Transactions", columns: transactionColumns, rows: page.rows, href: transactionHref }), early ?? pager(page, query, LIMIT)];
  });
}
