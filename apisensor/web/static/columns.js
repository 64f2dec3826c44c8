// Columns of the tables that several views show.

import { address, h } from "./dom.js";
import { bytes, clock, number, percent, when } from "./format.js";
import { duration, identity, method, raw, severity, state, status, tag, tags, words } from "./parts.js";

export const endpointHref = (row) => address(["inventory", row.id]);
export const findingHref = (row) => address(["findings", row.id]);
export const transactionHref = (row) => address(["transactions", row.id]);

/** Protocols of operations that the path says nothing of. */
const SAID = new Set(["graphql", "json-rpc", "mcp", "soap"]);
const SHOWN_OPERATIONS = 2;

/** What was asked for inside one address. */
function operationTags(operations) {
  const asked = operations.filter((one) => SAID.has(one.protocol));
  const more = asked.length - SHOWN_OPERATIONS;
  return [
    asked.slice(0, SHOWN_OPERATIONS).map((one) => h("span", { class: "asked", title: one.error ? `failed: ${one.error}` : null }, tag(words(one), one.error ? "warn" : ""))),
    more > 0 ? tag(`+${more}`) : null,
  ];
}

export const endpointColumns = [
  { head: "Method", cell: (row) => method(row.method) },
  { head: "Endpoint", sort: "owner", rising: true, wide: true, link: true, cell: (row) => raw(row.route, "cut") },
  { head: "Service", cell: (row) => [raw(row.owner, "cut owner"), row.side === "client" ? tag("outgoing") : null] },
  { head: "Calls", number: true, sort: "count", cell: (row) => number(row.count) },
  { head: "Errors", number: true, sort: "errors", cell: (row) =>
    row.errors ? h("span", { class: "bad", title: `${row.errors} calls` }, percent(row.errors, row.count)) : h("span", { class: "muted" }, "0") },
  { head: "p95", number: true, sort: "latency", cell: (row) => duration(row.p95_ms) },
  { head: "Auth", cell: (row) => h("span", { class: "tags" }, row.auth.map((name) =>
    tag(name, name === "none" && row.unauthenticated ? "warn" : ""))) },
  { head: "Sensitive", cell: (row) => tags(row.sensitive.slice(0, 3).concat(row.sensitive.length > 3 ? [`+${row.sensitive.length - 3}`] : []), "sensitive") },
  { head: "Callers", number: true, spare: true, cell: (row) => number(row.callers) },
  { head: "First seen", sort: "first_seen", cell: (row) => when(row.first_seen) },
  { head: "Last seen", sort: "last_seen", cell: (row) => when(row.last_seen) },
];

export const findingColumns = [
  { head: "Severity", cell: (row) => severity(row.severity) },
  { head: "Finding", wide: true, link: true, cell: (row) => h("span", { class: "cut" }, row.title) },
  { head: "Where", cell: (row) => [raw(row.route ?? row.server, "cut where"), row.service ? h("span", { class: "below muted" }, row.service) : null] },
  { head: "Client", cell: (row) => raw(row.client) },
  { head: "Identity", cell: (row) => identity(row.identity) },
  { head: "Count", number: true, cell: (row) => number(row.count) },
  { head: "State", cell: (row) => state(row.state) },
  { head: "Last seen", cell: (row) => when(row.last_seen) },
];

export const transactionColumns = [
  { head: "Time", cell: (row) => clock(row.time) },
  { head: "Status", cell: (row) => status(row.status, row.grpc_status) },
  { head: "Method", cell: (row) => method(row.method) },
  { head: "Path", wide: true, link: true, cell: (row) => h("span", { class: "called" }, row.side === "client" && row.host ? raw(row.host, "muted cut") : null, raw(row.path, "cut"), operationTags(row.operations)) },
  { head: "Service", cell: (row) => raw(row.service) },
  { head: "Duration", number: true, cell: (row) => duration(row.duration_ms) },
  { head: "Client", cell: (row) => raw(row.client) },
  { head: "Identity", cell: (row) => identity(row.identity) },
  { head: "Notes", cell: (row) => h("span", { class: "tags" },
    row.complete ? null : tag("incomplete", "warn"),
    row.anomalies.map((name) => tag(name, "warn")),
    row.sensitive.map((name) => tag(name, "sensitive"))) },
];

export const liveColumns = [
  { head: "Time", cell: (t) => clock(t.start_time) },
  { head: "Status", cell: (t) => status(t.status, t.grpc_status) },
  { head: "Method", cell: (t) => method(t.method) },
  { head: "Host and path", wide: true, cell: (t) => h("button", { type: "button", class: "row-link plain", data: { id: t.id } },
    raw(t.authority ?? "", "muted"), raw(t.path, "cut"), operationTags(t.operations)) },
  { head: "View", extra: true, cell: (t) => h("span", { title: t.side }, t.side === "client" ? "→ out" : t.side === "server" ? "← in" : t.side) },
  { head: "Service", extra: true, cell: (t) => raw(t.process?.service) },
  { head: "Duration", number: true, cell: (t) => duration(t.duration_ms) },
  { head: "Size", number: true, extra: true, cell: (t) => bytes(t.response_body_size) },
  { head: "Notes", extra: true, cell: (t) => h("span", { class: "tags" },
    t.complete ? null : tag(t.incomplete_reason, "warn"),
    t.anomalies.map((name) => tag(name, "warn")),
    t.tls ? tag("TLS") : null) },
];
