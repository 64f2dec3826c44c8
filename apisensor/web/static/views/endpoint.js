// One endpoint: what it is, who calls it and how, what it carries, how fast it answers.

import { get } from "../api.js";
import { latency, parts, traffic } from "../charts.js";
import { findingColumns, findingHref, transactionColumns, transactionHref } from "../columns.js";
import { address, add, h } from "../dom.js";
import { bytes, full, ms, number, percent, when } from "../format.js";
import { bars, empty, facts, identity, load, method, panel, place, raw, table, tag } from "../parts.js";

const RANGES = { 3600: "1 h", 86400: "24 h", 604800: "7 d" };
const STEPS = { 3600: 300, 86400: 900, 604800: 7200 };
const AT = ["p50", "p90", "p95", "p99", "max"];

function classOf(status) {
  return { 2: "c-good", 3: "c-low", 4: "c-warn", 5: "c-bad" }[status[0]] ?? "c-none";
}

function statuses(counts) {
  const entries = Object.entries(counts).sort((a, b) => a[0].localeCompare(b[0]));
  return parts("Statuses", entries.map(([name, count]) => [name === "none" ? "no response seen" : name, count, classOf(name)]));
}

function authentication(body) {
  const entries = Object.entries(body.auth).sort((a, b) => b[1] - a[1]);
  return [
    parts("Authentication", entries.map(([name, count], index) => [name === "none" ? "no credential" : name, count, name === "none" ? "c-warn" : ["c-low", "c-good", "c-sensitive"][index % 3]])),
    body.open_successes ? h("p", { class: "more" }, tag("open", "warn"), " ", number(body.open_successes), " calls without any credential were answered with success") : null,
  ];
}

function sensitive(body) {
  if (!Object.keys(body.sensitive_in).length && !Object.keys(body.sensitive_out).length) {
    return h("p", { class: "muted" }, "None was found in these calls.");
  }
  return [
    h("h3", null, "Sent by callers"), Object.keys(body.sensitive_in).length ? bars(body.sensitive_in) : h("p", { class: "muted" }, "none"),
    h("h3", null, "Sent to callers"), Object.keys(body.sensitive_out).length ? bars(body.sensitive_out) : h("p", { class: "muted" }, "none"),
  ];
}

function quantiles(body) {
  const lines = [["Latency", "latency_ms", ms], ["Request body", "request_bytes", bytes], ["Response body", "response_bytes", bytes]];
  return table({
    caption: "Quantiles",
    columns: [
      { head: "", cell: ([name]) => name },
      ...AT.map((at) => ({ head: at, number: true, cell: ([, key, unit]) => unit(body.quantiles[key]?.[at] ?? null) })),
    ].map((column) => column.head ? column : { ...column, head: "Quantile" }),
    rows: lines,
  });
}

const callerColumns = [
  { head: "Identity", cell: (row) => identity(row.identity) },
  { head: "Service", cell: (row) => raw(row.service) },
  { head: "Address", cell: (row) => raw(row.address) },
  { head: "Scheme", cell: (row) => row.scheme ?? "–" },
  { head: "Calls", number: true, cell: (row) => number(row.count) },
  { head: "Last seen", cell: (row) => when(row.last_seen) },
];

function top(body) {
  const { row } = body;
  return [
    h("p", { class: "crumb" }, h("a", { href: "/inventory" }, "Inventory"), " / ",
      h("a", { href: address(["inventory"], { owner: row.owner }) }, raw(row.owner)), row.side === "client" ? " (outgoing)" : ""),
    h("div", { class: "title-line" }, h("h1", null, method(row.method), " ", raw(row.route))),
    h("div", { class: "cards" },
      fact("Calls", number(row.count)),
      fact("Errors", percent(row.errors, row.count), `${full(row.errors)} calls`),
      fact("95 % within", ms(row.p95_ms), ["half within ", ms(row.p50_ms)]),
      fact("Encrypted", percent(body.encrypted, row.count), body.encrypted < row.count ? "the rest was plaintext on the wire" : "came over TLS"),
      fact("Last seen", when(row.last_seen), ["first ", when(row.first_seen)]),
      fact("Incomplete", percent(body.incomplete, row.count), `${full(body.unanswered)} unanswered`)),
  ];
}

function fact(label, figure, note) {
  return h("div", { class: "card" }, h("span", { class: "label" }, label), h("span", { class: "figure small" }, figure), h("span", { class: "note" }, note ?? ""));
}

function bounded(title, counts) {
  return Object.keys(counts).length ? panel(title, bars(counts)) : null;
}

export function show(view, { id, query, signal }) {
  const body = place("table-tall");
  add(view, body);
  const content = async () => {
    const seen = await get(["endpoints", id], {}, signal);
    document.title = `${seen.row.method} ${seen.row.route} - apisensor`;
    const young = Date.now() - Date.parse(seen.row.first_seen) < 3_600_000;
    const range = RANGES[query.range] ? Number(query.range) : young ? 3_600 : 86_400;
    const [chart, calls, found] = [place("chart-tall"), place("list-tall"), place("line-tall")];
    const ranges = h("nav", { class: "segments", "aria-label": "Time" }, Object.entries(RANGES).map(([value, text]) =>
      h("a", { id: `time-${value}`, href: address(["inventory", id], { range: value }), "aria-current": Number(value) === range ? "true" : null }, text)));
    load(chart, signal, async () => {
      const until = Math.ceil(Date.now() / 60_000) * 60;
      const over = { since: until - range, until, step: STEPS[range] };
      const points = await get(["endpoints", id, "traffic"], over, signal);
      return h("div", { class: "columns" }, traffic(points, over), latency(points, over));
    });
    load(found, signal, async () => {
      const page = await get(["findings"], { endpoint: seen.row.id, limit: 10 }, signal);
      if (!page.rows.length) return h("p", { class: "muted" }, "Nothing was found here.");
      const columns = findingColumns.filter((column) => column.head !== "Where");
      return table({ caption: "Findings of this endpoint", columns, rows: page.rows, href: findingHref });
    });
    load(calls, signal, async () => {
      const page = await get(["transactions"], { endpoint: seen.row.id, limit: 10 }, signal);
      if (!page.rows.length) return empty("No stored transaction", "Older ones are gone (store.max_days, store.max_bytes); the next call appears here.");
      const columns = transactionColumns.filter((column) => column.head !== "Method");
      return [
        table({ caption: "Transactions of this endpoint", columns, rows: page.rows, href: transactionHref }),
        h("a", { class: "more", href: address(["transactions"], { endpoint: seen.row.id }) }, "All stored transactions of this endpoint"),
      ];
    });
    return h("div", { class: "view" },
      top(seen),
      h("section", { class: "panel" }, h("div", { class: "drawer-head" }, h("h2", null, "Over time"), ranges), chart),
      h("div", { class: "columns thirds" },
        panel("Statuses", statuses(seen.statuses), Object.keys(seen.grpc_statuses).length ? [h("h3", null, "gRPC statuses"), bars(seen.grpc_statuses)] : null),
        panel("Authentication", authentication(seen)),
        panel("Sensitive data", sensitive(seen))),
      h("div", { class: "columns" },
        panel("Callers", table({ caption: "Callers", columns: callerColumns, rows: seen.callers })),
        panel("Quantiles", quantiles(seen))),
      panel("Findings", found),
      panel("Example transactions", calls),
      h("div", { class: "columns thirds" },
        bounded("Hosts asked for", seen.hosts), bounded("Protocols", seen.protocols), bounded("Content types", seen.content_types),
        bounded("Query parameters", seen.query_names), bounded("Anomalies", seen.anomalies),
        panel("Ids", facts([["Id", raw(seen.row.id)], ["Before its template was learnt", seen.old_ids.length ? seen.old_ids.map((old) => h("div", null, raw(old))) : "–"]]))));
  };
  load(body, signal, content);
}
