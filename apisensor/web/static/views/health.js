// How the sensor is: its parts, what was lost, what cannot be seen, the store, the export.

import { get } from "../api.js";
import { add, h } from "../dom.js";
import { bytes, full, number, span, when } from "../format.js";
import { bars, empty, facts, heading, load, panel, place, raw, table, tag } from "../parts.js";

const REFRESH_MS = 10_000;

const partColumns = [
  { head: "Part", cell: (row) => h("code", null, row.name) },
  { head: "State", cell: (row) => row.resting ? "resting" : row.pid === null ? tag("not running", "warn") : h("span", { class: "good" }, "running") },
  { head: "Process", number: true, cell: (row) => row.pid ?? "–" },
  { head: "User", cell: (row) => row.user ?? "–" },
  { head: "Up", number: true, cell: (row) => row.pid === null ? "–" : span(row.uptime_seconds) },
  { head: "Restarts", number: true, cell: (row) => row.restarts ? h("span", { class: "bad" }, row.restarts) : "0" },
  { head: "Memory", number: true, cell: (row) => bytes(row.memory_bytes) },
  { head: "Ended before with", cell: (row) => row.last_exit ?? "–" },
];

const processColumns = [
  { head: "Process", number: true, cell: (row) => String(row.pid) },
  { head: "Executable", cell: (row) => raw(row.executable) },
  { head: "Service", cell: (row) => raw(row.service) },
  { head: "Container", cell: (row) => row.container ? h("span", { title: row.container }, raw(row.container.slice(0, 12))) : "–" },
  { head: "Calls", number: true, cell: (row) => number(row.transactions) },
  { head: "Plaintext", number: true, cell: (row) => bytes(row.plaintext_bytes) },
  { head: "Encrypted", number: true, cell: (row) => bytes(row.encrypted_bytes) },
  { head: "Not seen", number: true, cell: (row) => row.unseen_bytes ? bytes(row.unseen_bytes) : "–" },
  { head: "TLS", cell: (row) => row.blind ? tag("blind", "warn") : row.attached ? "attached" : "–" },
  { head: "Note", text: true, cell: (row) => row.note ?? "" },
];

const libraryColumns = [
  { head: "Path", cell: (row) => raw(row.path) },
  { head: "Library", cell: (row) => row.library },
  { head: "Version", cell: (row) => row.version ?? "–" },
  { head: "Probes", number: true, cell: (row) => row.probes ? String(row.probes) : h("span", { class: "bad" }, "0") },
  { head: "Processes", number: true, cell: (row) => String(row.processes) },
  { head: "Why not attached", text: true, cell: (row) => row.reason ?? "" },
];

function blind(rows) {
  if (!rows.length) return h("p", { class: "good" }, "None: of every process that sends TLS, a library is attached.");
  return [
    h("p", null, "Of these processes TLS was seen on the wire and none of its plaintext: no library of theirs is hooked."),
    table({ caption: "Blind spots", columns: processColumns.filter((column) => ["Process", "Executable", "Encrypted", "Note"].includes(column.head)), rows }),
  ];
}

function exported(state) {
  if (state === null) return h("p", { class: "muted" }, "Off: OTEL_EXPORTER_OTLP_ENDPOINT is not set, or export.enabled is false.");
  return facts(Object.entries(state).map(([name, value]) => [name.replaceAll("_", " "), typeof value === "number" ? full(value) : raw(value)]));
}

function content(health) {
  const { status } = health;
  const others = Object.fromEntries(Object.entries(status.counters).filter(([name, count]) => !name.includes(".lost.") && count));
  return [
    h("div", { class: "columns" },
      panel("Lost, by cause", Object.keys(health.lost).length
        ? [bars(health.lost), health.remedies.map((remedy) => h("p", { class: "muted below" }, "→ ", remedy))]
        : h("p", { class: "good" }, "Nothing was lost since the start.")),
      h("section", { class: `panel ${health.blind_spots.length ? "blind" : ""}` }, h("h2", null, "Blind spots"), blind(health.blind_spots))),
    panel("Parts", table({ caption: "Parts", columns: partColumns, rows: status.parts }),
      h("p", { class: "muted" }, "Memory of the kernel's maps, rings included: ", bytes(Object.values(status.maps).reduce((sum, one) => sum + one, 0)))),
    panel("Processes", status.processes.length
      ? table({ caption: "Processes", columns: processColumns, rows: [...status.processes].sort((a, b) => b.transactions - a.transactions) })
      : empty("No process yet", "A process is listed as soon as it moves bytes over TCP.")),
    panel("TLS libraries", status.libraries.length
      ? table({ caption: "TLS libraries", columns: libraryColumns, rows: status.libraries })
      : h("p", { class: "muted" }, "No running process has mapped a TLS library that is known.")),
    h("div", { class: "columns" },
      panel("Export of spans", exported(status.export)),
      panel("Notes", status.notes.length ? h("ul", { class: "plain-list" }, status.notes.map((note) => h("li", null, note))) : h("p", { class: "muted" }, "none"))),
    h("details", { class: "panel" }, h("summary", null, "All counters"),
      h("h3", null, "Sensor"), facts(Object.entries(others).sort().map(([name, count]) => [name, full(count)])),
      h("h3", null, "This page"), facts(Object.entries(health.web).sort().map(([name, count]) => [name, full(count)]))),
  ];
}

function storeFacts(store) {
  return [
    facts([
      ["Size", bytes(store.bytes)],
      ["Endpoints", number(store.endpoints)],
      ["Transactions", number(store.transactions)],
      ["Findings", number(store.findings)],
      ["Oldest transaction", when(store.oldest)],
      ["File", raw(store.path)],
    ]),
    store.notes.length ? h("ul", { class: "plain-list" }, store.notes.map((note) => h("li", null, tag("note", "warn"), " ", note))) : null,
  ];
}

/** Whether somebody reads there what new numbers would take away: opened, focused or selected. */
function inUse(body) {
  return body.querySelector("details[open]") || body.contains(document.activeElement) || String(getSelection());
}

export function show(view, { signal }) {
  const [up, body, store] = [h("span", { class: "muted" }), place("table-tall"), place("list-tall")];
  add(view, heading("Health", up), body, h("section", { class: "panel" }, h("h2", null, "Store"), store));
  const refresh = () => {
    load(body, signal, async () => {
      const health = await get(["status"], {}, signal);
      const seconds = Date.now() / 1000 - health.status.started;
      up.textContent = `apisensor ${health.status.version}, up ${span(Math.max(0, seconds))}`;
      return h("div", { class: "view" }, content(health));
    });
    load(store, signal, async () => storeFacts(await get(["facts"], {}, signal)));
  };
  refresh();
  const timer = setInterval(() => document.hidden || inUse(body) || refresh(), REFRESH_MS);
  signal.addEventListener("abort", () => clearInterval(timer));
}
