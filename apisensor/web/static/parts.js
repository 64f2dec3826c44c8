// Parts that views share: tables, chips, labels, notices.

import { add, address, fill, h } from "./dom.js";
import { ms, number } from "./format.js";
import { change, go } from "./router.js";

/** Runs `work` and shows its error, or what it returns, in `place`; nothing where the view was left meanwhile. */
export async function load(place, signal, work) {
  try {
    const content = await work();
    if (!signal.aborted) fill(place, content);
  } catch (error) {
    if (signal.aborted || error.name === "AbortError") return;
    fill(place, problem(error));
  } finally {
    place.removeAttribute("aria-busy");
  }
}

/** A place that is filled later and does not move what is below it. */
export function place(tall, ...classes) {
  return h("div", { class: ["place", tall, ...classes].join(" "), "aria-busy": "true" });
}

export function problem(error) {
  const what = error.status === 404 ? "This is not here. " : "This cannot be shown now. ";
  return h("div", { class: "notice", role: "alert" }, h("strong", null, what), `${error.message[0].toUpperCase()}${error.message.slice(1)}.`);
}

/** What a view says that has nothing to show: what it would be, and what to do. */
export function empty(title, ...text) {
  return h("div", { class: "empty" }, h("p", { class: "empty-title" }, title), h("p", null, ...text));
}

export function panel(title, ...content) {
  return h("section", { class: "panel" }, h("h2", null, title), ...content);
}

export function heading(title, ...beside) {
  return h("div", { class: "heading" }, h("h1", null, title), beside.length ? h("div", { class: "beside" }, ...beside) : null);
}

/** Text as it came from traffic: monospaced, its direction its own. */
export function raw(text, extra = "") {
  return h("bdi", { class: `raw ${extra}`.trim() }, text ?? "–");
}

export function method(text) {
  return h("span", { class: "method" }, text ?? "–");
}

const GRPC = [
  "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
];
const GRPC_SERVER = [2, 4, 12, 13, 14, 15]; // the server's errors, as OpenTelemetry's conventions have them

/** A gRPC status by its name, "7 PERMISSION_DENIED". */
export const grpcName = (code) => `${code} ${GRPC[code] ?? "unknown"}`;

/** gRPC answers with HTTP 200 whatever happened, so where there is a gRPC status it is the one shown. */
export function status(code, grpc = null) {
  if (grpc !== null) {
    const grade = grpc === 0 ? "s2" : GRPC_SERVER.includes(grpc) ? "s5" : "s4";
    return h("span", { class: `status ${grade}`, title: `gRPC status ${grpcName(grpc)}, HTTP status ${code ?? "not seen"}` }, `grpc ${grpc}`);
  }
  const kind = code === null || code === undefined ? "none" : `s${Math.floor(code / 100)}`;
  return h("span", { class: `status ${kind}`, title: kind === "none" ? "No response was seen; that is not an error code" : null },
    code ?? "none");
}

export function severity(name) {
  return h("span", { class: `severity ${name}` }, h("span", { class: "dot", "aria-hidden": "true" }), name);
}

export const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"];

export const STATES = { open: "Open", acknowledged: "Acknowledged", false_positive: "False positive", closed: "Closed" };

export function state(name) {
  return h("span", { class: `state ${name}` }, STATES[name] ?? name);
}

/** What an operation is called: its protocol, kind, name and target. */
export function words(one) {
  return [one.protocol, one.kind, one.name, one.target].filter(Boolean).join(" ");
}

export function tag(text, kind = "") {
  return h("span", { class: `tag ${kind}`.trim() }, text);
}

export function tags(list, kind) {
  return list.length ? h("span", { class: "tags" }, list.map((text) => tag(text, kind))) : h("span", { class: "muted" }, "–");
}

/** The keyed hash of an identity, shortened; a link to what it did. */
export function identity(hash) {
  if (!hash) return h("span", { class: "muted" }, "–");
  return h("a", { href: address(["transactions"], { identity: hash }), class: "raw", title: `Identity ${hash}: its transactions` },
    hash.slice(0, 10));
}

export function duration(value) {
  return h("span", { class: "number" }, ms(value));
}

/**
 * A table. columns: [{head, cell(row), number, wide, text, extra, sort}], `sort` names the value of the parameter "sort";
 * href(row): where a row leads; its first cell with `link` becomes the link.
 */
export function table({ caption, columns, rows, href, sorted }) {
  const head = columns.map((column) => h("th", {
    scope: "col",
    class: classOf(column),
    "aria-sort": column.sort && column.sort === sorted ? (column.rising ? "ascending" : "descending") : null,
  }, column.sort
    ? h("button", { type: "button", class: "sort", id: `sort-${column.sort}`, onclick: () => change({ sort: column.sort }) }, column.head)
    : column.head));
  const body = rows.map((row) => rowOf(row, columns, href));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", null, h("caption", { class: "sr" }, caption), h("thead", null, h("tr", null, head)), h("tbody", null, body)));
}

/** Classes of a column's cells: `extra` ones go beside an open drawer, `spare` ones on all but wide screens. */
export const classOf = (column) => ["number", "wide", "text", "extra", "spare"].filter((name) => column[name]).join(" ") || null;

/** One row of such a table. */
export function rowOf(row, columns, href) {
  const to = href?.(row);
  const cells = columns.map((column) => {
    const content = column.cell(row);
    const cell = h("td", { class: classOf(column) });
    return add(cell, to && column.link ? h("a", { href: to, class: "row-link" }, content) : content);
  });
  return h("tr", { class: to ? "leads" : null, onclick: to ? (event) => open(event, to) : null }, cells);
}

function open(event, to) {
  if (event.target.closest("a, button") || String(getSelection())) return;
  if (event.ctrlKey || event.metaKey) window.open(to, "_blank", "noopener");
  else go(to);
}

/** "Previous" and "Next" of a page of rows. */
export function pager(page, query, limit) {
  const at = Number(query.at ?? 0);
  const end = at + page.rows.length;
  const range = page.rows.length ? `${(at + 1).toLocaleString("en")}–${end.toLocaleString("en")}` : "0";
  return h("nav", { class: "pager", "aria-label": "Pages" },
    h("span", { class: "muted" }, range, page.total === null ? "" : [" of ", number(page.total)]),
    query.cursor && h("button", { type: "button", onclick: () => change({}) }, "First page"),
    page.next && h("button", { type: "button", data: { key: "n" }, title: "n", onclick: () => change({ cursor: page.next, at: at + limit }) },
      "Next page"));
}

/** A filter that is on or off, by a parameter. */
export function chip(text, parameter, value, query) {
  const on = query[parameter] === value;
  return h("button", {
    type: "button", class: "chip", id: `chip-${parameter}-${value}`, "aria-pressed": String(on), onclick: () => change({ [parameter]: on ? null : value }),
  }, text);
}

/** The search field of a view; it searches while one types. */
export function search(label, query, parameter = "search") {
  let timer = 0;
  const now = (event) => change({ [parameter]: event.target.value.trim() }, { replace: true });
  return h("input", {
    type: "search", id: "search", placeholder: label, "aria-label": label, value: query[parameter] ?? "", maxlength: "200",
    autocomplete: "off", spellcheck: "false",
    oninput: (event) => { clearTimeout(timer); timer = setTimeout(now, 250, event); },
  });
}

/** A choice by a parameter. */
export function choice(label, parameter, options, query) {
  const element = h("select", { id: `choice-${parameter}`, "aria-label": label, onchange: (event) => change({ [parameter]: event.target.value }) },
    options.map(([value, text]) => h("option", { value }, text)));
  element.value = query[parameter] ?? "";
  return element;
}

/** Names and values: [name, value, whether it takes a line of its own]. */
export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(Boolean).map(([name, value, whole]) =>
    h("div", { class: whole ? "whole" : null }, h("dt", null, name), h("dd", null, value ?? h("span", { class: "muted" }, "–")))));
}

/** Counts by name as bars, the largest first. */
export function bars(counts, { label = (name) => name, href } = {}) {
  const entries = Object.entries(counts).sort((a, b) => b[1] - a[1]);
  const most = entries.length ? entries[0][1] : 1;
  return h("ul", { class: "bars" }, entries.map(([name, count]) => {
    const bar = h("span", { class: "bar", "aria-hidden": "true" });
    bar.style.setProperty("--part", String(count / most));
    return h("li", null, bar,
      h("span", { class: "bar-name" }, href ? h("a", { href: href(name) }, label(name)) : label(name)),
      h("span", { class: "number" }, number(count)));
  }));
}
