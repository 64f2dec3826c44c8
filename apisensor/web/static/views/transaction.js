// One transaction with everything that is known of it; `detail` also fills the drawer of the live view.

import { get } from "../api.js";
import { address, add, h } from "../dom.js";
import { absolute, bytes, full, ms, number } from "../format.js";
import { duration, facts, grpcName, identity, load, method, panel, place, raw, status, table, tag, tags } from "../parts.js";

const BINDINGS = {
  socket: "the bytes passed through the socket itself",
  set_fd: "the application named the socket to its TLS library",
  nested: "the TLS library used the socket inside the application's call",
  ciphertext: "the ciphertext that the library wrote left through this socket",
  packet: "the addresses are the packets'",
};

const peer = (end) => end ? raw(end.port === null ? `unix:${end.address}` : end.address.includes(":") ? `[${end.address}]:${end.port}` : `${end.address}:${end.port}`) : h("span", { class: "muted" }, "not known");

function headers(title, list, trailers) {
  const rows = (pairs) => pairs.map(([name, value]) => h("tr", null,
    h("th", { scope: "row" }, raw(name ?? "unknown", name === null ? "muted" : "")), h("td", null, raw(value ?? "unknown", value === null ? "muted" : ""))));
  if (list === null) return panel(title, h("p", { class: "muted" }, "The head was not seen."));
  return panel(title,
    h("div", { class: "scroll wrap headers", tabindex: "0", role: "region", "aria-label": title },
      h("table", null, h("thead", { class: "sr" }, h("tr", null, h("th", { scope: "col" }, "Name"), h("th", { scope: "col" }, "Value"))), h("tbody", null, rows(list)))),
    trailers.length ? [h("h3", null, "Trailers"), h("div", { class: "wrap headers" }, h("table", null, h("tbody", null, rows(trailers))))] : null);
}

function timing(t) {
  if (t.duration_ms === null) return h("p", { class: "muted" }, "No response was seen, so nothing is known of its time.");
  const wait = h("span", { class: "c-low" });
  const rest = h("span", { class: "c-sensitive" });
  wait.style.flexGrow = String(Math.max(t.ttfb_ms ?? t.duration_ms, t.duration_ms / 100));
  rest.style.flexGrow = String(Math.max(t.duration_ms - (t.ttfb_ms ?? t.duration_ms), t.duration_ms / 100));
  return h("div", null,
    h("div", { class: "strip", role: "img", "aria-label": `First byte after ${ms(t.ttfb_ms)} of ${ms(t.duration_ms)}` }, wait, rest),
    h("ul", { class: "strip-legend" },
      h("li", null, h("span", { class: "swatch c-low" }), "to the first byte ", h("span", { class: "muted" }, ms(t.ttfb_ms))),
      h("li", null, h("span", { class: "swatch c-sensitive" }), "to the last byte ", h("span", { class: "muted" }, ms(t.duration_ms)))));
}

const operationColumns = [
  { head: "Protocol", cell: (one) => one.protocol },
  { head: "Kind", cell: (one) => one.kind?.replaceAll("_", " ") ?? "–" },
  { head: "Name", cell: (one) => raw([one.name, one.target].filter(Boolean).join(" ") || null) },
  { head: "Fields", text: true, cell: (one) => one.fields.length ? raw(one.fields.join(", ")) : "–" },
  { head: "Error", cell: (one) => one.error ? tag(one.error, "warn") : "–" },
  { head: "Not read", cell: (one) => one.reason ?? "" },
];

const messageColumns = [
  { head: "Direction", cell: ([direction]) => direction },
  { head: "Protocol", cell: ([, one]) => one.protocol },
  { head: "Messages", number: true, cell: ([, one]) => number(one.count) },
  { head: "Bytes", number: true, cell: ([, one]) => bytes(one.bytes) },
  { head: "Largest", number: true, cell: ([, one]) => bytes(one.largest) },
  { head: "Compressed", number: true, cell: ([, one]) => number(one.compressed) },
  { head: "Control frames", number: true, cell: ([, one]) => number(one.control) },
  { head: "Close code", number: true, cell: ([, one]) => one.close_code ?? "–" },
  { head: "Not counted", cell: ([, one]) => one.reason ?? "" },
];

function messages({ request, response }) {
  const rows = [["to the server", request], ["to the client", response]].filter(([, one]) => one);
  return table({ caption: "Messages", columns: messageColumns, rows });
}

function completeness(t, reasons) {
  if (t.complete) return h("span", { class: "good" }, "complete");
  return [tag("incomplete", "warn"), " ", h("code", null, t.incomplete_reason), reasons?.[t.incomplete_reason] ? `: ${reasons[t.incomplete_reason]}` : ""];
}

/** The parts of a transaction's page; `t` is the object of docs/transaction.md. */
export function detail(t, reasons) {
  const process = t.process;
  const start = new Date(t.start_time);
  return [
    panel("Call", facts([
      ["Started", h("time", { datetime: start.toISOString(), title: t.start_time }, absolute(start))],
      ["Duration", t.duration_ms === null ? "–" : duration(t.duration_ms)],
      ["Protocol", [t.protocol, t.stream_id === null ? "" : `, stream ${t.stream_id}`]],
      ["Observed at", t.side === "network" ? "the network" : `the ${t.side}`],
      ["Client", peer(t.client)],
      ["Server", peer(t.server)],
      ["Host", raw(t.authority)],
      ["Route", raw(t.route)],
      ["Request body", bytes(t.request_body_size)],
      ["Response body", bytes(t.response_body_size)],
      t.grpc_status === null ? null : ["gRPC status", [grpcName(t.grpc_status), t.grpc_message ? h("span", { class: "below muted" }, raw(t.grpc_message)) : null]],
      ["Authentication", t.auth ? [t.auth.scheme, " ", identity(t.auth.identity)] : "no credential"],
      t.login_identity ? ["Login as", identity(t.login_identity)] : null,
      ["Seen", completeness(t, reasons)],
      ["Peer known by", t.binding ? [h("code", null, t.binding), h("span", { class: "below muted" }, BINDINGS[t.binding] ?? "")] : "not known"],
      ["Anomalies", t.anomalies.length ? tags(t.anomalies, "warn") : "none"],
      ["Sensitive data", t.sensitive.length ? t.sensitive.map((one) => h("div", null, tag(one.kind, "sensitive"), h("span", { class: "muted" }, ` ${one.place}, ${full(one.count)}`))) : "none found"],
    ])),
    t.operations.length ? panel("Operations", table({ caption: "Operations", columns: operationColumns, rows: t.operations })) : null,
    t.messages ? panel("Messages", messages(t.messages)) : null,
    panel("Time", timing(t)),
    h("div", { class: "columns" },
      headers("Request headers", t.request_headers, t.request_trailers),
      headers("Response headers", t.response_headers, t.response_trailers)),
    h("div", { class: "columns" },
      panel("Process", process ? facts([
        ["Process", full(process.pid).replaceAll(",", "")],
        ["Service", process.service ? h("a", { href: address(["inventory"], { owner: process.service }) }, raw(process.service)) : "–"],
        ["Executable", raw(process.executable)],
        ["User", raw(process.user)],
        ["Container", process.container ? h("span", { title: process.container }, raw(process.container.slice(0, 12))) : "–"],
        ["Pod", raw(process.pod)],
        ["Runtime", process.runtime ?? "–"],
        ["TLS", t.tls ? `${t.tls.library} ${t.tls.library_version ?? ""}` : t.scheme === "https" ? "library not known" : "none: plaintext on the wire"],
        ["Command line", raw(process.command_line), true],
      ]) : h("p", { class: "muted" }, "The process is not known.")),
      panel("Trace", facts([
        ["Trace", h("a", { href: address(["transactions"], { trace_id: t.trace_id }), class: "raw" }, t.trace_id), true],
        ["Span", raw(t.span_id)],
        ["Parent span", t.parent_span_id ? raw(t.parent_span_id) : "none sent"],
        ["Connection", raw(t.conn_id)],
      ]))),
  ];
}

export function title(t) {
  return h("div", { class: "title-line" }, h("h1", null, status(t.status, t.grpc_status), " ", method(t.method), " ", raw(t.path)));
}

export function show(view, { id, signal }) {
  const body = place("table-tall");
  add(view, body);
  load(body, signal, async () => {
    const [t, words] = await Promise.all([get(["transactions", id], {}, signal), get(["vocabulary"], {}, signal)]);
    document.title = `${t.method ?? "?"} ${t.path ?? "?"} - apisensor`;
    return h("div", { class: "view" },
      h("p", { class: "crumb" }, h("a", { href: "/transactions" }, "Transactions")),
      title(t), detail(t, words.incomplete_reasons),
      h("details", { class: "panel" }, h("summary", null, "As JSON"), h("pre", { tabindex: "0", role: "region", "aria-label": "JSON" }, JSON.stringify(t, null, 2).split("\n").map((line) => h("div", null, line)))));
  });
}
