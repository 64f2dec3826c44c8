// Transactions as they happen. The newest come first; a paused list keeps what comes, up to a limit.

import { get } from "../api.js";
import { liveColumns } from "../columns.js";
import { address, add, fill, h, say } from "../dom.js";
import { full, when } from "../format.js";
import { change } from "../router.js";
import { choice, classOf, empty, heading, problem, raw, rowOf, severity } from "../parts.js";
import { detail, title } from "./transaction.js";

const KEPT = 300; // rows; older ones go
const PAINT_MS = 200;
const BUSY_PART = 4; // of the time between two paintings one takes at most a quarter: a flood leaves the page usable
const AGAIN_MS = 3_000;
const FILTERS = ["path", "host", "service", "operation", "method", "status", "side", "protocol", "incomplete"];

class Stream {
  constructor(view, query, signal) {
    this.rows = [];
    this.waiting = [];
    this.dropped = 0;
    this.missed = 0;
    this.seen = 0;
    this.paused = false;
    this.query = Object.fromEntries(FILTERS.filter((name) => query[name]).map((name) => [name, query[name]]));
    this.signal = signal;
    this.build(view, query);
    this.tick();
    signal.addEventListener("abort", () => this.end());
    this.connect();
  }

  build(view, query) {
    this.body = h("tbody");
    this.note = h("span", { class: "muted live-note" });
    this.trouble = h("div", { class: "news" });
    this.news = h("div", { class: "news" });
    this.pause = h("button", { type: "button", data: { key: "p" }, title: "p", "aria-pressed": "false", onclick: () => this.toggle() }, "Pause");
    this.table = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Live transactions" },
      h("table", null, h("caption", { class: "sr" }, "Live transactions, the newest first"),
        h("thead", null, h("tr", null, liveColumns.map((column) =>
          h("th", { scope: "col", class: classOf(column) }, column.head)))),
        this.body));
    this.nothing = h("div", null, empty("Waiting for the next call",
      Object.keys(this.query).length ? "Only calls that fit the filters above are shown." : "Any HTTP call that a process of this node makes or serves appears here."));
    this.drawer = h("aside", { class: "drawer", hidden: true, "aria-label": "Transaction" });
    this.split = h("div", { class: "split" }, h("section", { class: "panel flush live-table" }, this.table, this.nothing), this.drawer);
    const field = (label, name, hint) => h("input", {
      type: name === "path" ? "search" : "text", id: `field-${name}`, "aria-label": label, placeholder: hint, value: query[name] ?? "", maxlength: "200", size: name === "path" ? "24" : "14",
      spellcheck: "false", autocomplete: "off", onchange: (event) => change({ [name]: event.target.value.trim() }),
    });
    add(view,
      heading("Live", this.note, this.pause, h("button", { type: "button", onclick: () => this.clear() }, "Clear")),
      h("div", { class: "bar-row", role: "search" },
        field("Path", "path", "Path, such as /api/*  ( / )"),
        field("Host", "host", "Host"),
        field("Service", "service", "Service"),
        field("Operation", "operation", "Operation"),
        choice("Method", "method", [["", "All methods"], ...["GET", "POST", "PUT", "PATCH", "DELETE"].map((name) => [name, name])], query),
        choice("Status", "status", [["", "Any status"], ["2xx", "2xx"], ["3xx", "3xx"], ["4xx", "4xx"], ["5xx", "5xx"], ["none", "No response"]], query),
        choice("View", "side", [["", "Both sides"], ["server", "Served here"], ["client", "Made here"]], query),
        choice("Protocol", "protocol", [["", "Any protocol"], ["http/1", "HTTP/1"], ["h2", "HTTP/2"], ["grpc", "gRPC"], ["websocket", "WebSocket"]], query),
        h("button", { type: "button", class: "chip", "aria-pressed": String(query.incomplete === "true"), onclick: () => change({ incomplete: query.incomplete ? null : "true" }) }, "Incomplete")),
      this.trouble, this.news, this.split);
    this.body.addEventListener("click", (event) => {
      const id = event.target.closest("tr")?.querySelector("[data-id]")?.dataset.id;
      const found = this.rows.find((t) => t.id === id);
      if (found) this.open(found);
    });
    this.tell();
  }

  connect() {
    if (this.signal.aborted) return;
    const source = new EventSource(address(["api", "v1", "live"], this.query));
    this.source = source;
    source.addEventListener("open", () => { this.connected = true; fill(this.trouble); this.tell(); });
    source.addEventListener("transaction", (event) => this.take(JSON.parse(event.data)));
    source.addEventListener("finding", (event) => this.found(JSON.parse(event.data)));
    source.addEventListener("dropped", (event) => { this.dropped += JSON.parse(event.data).count; });
    source.addEventListener("end", () => this.lost("The sensor ended the stream; asking again."));
    source.addEventListener("error", () => this.lost("The live stream is interrupted; asking again."));
  }

  async lost(text) {
    this.source.close();
    this.connected = false;
    this.tell();
    try {
      await get(["status"], {}, this.signal);
      fill(this.trouble, h("div", { class: "notice" }, text));
    } catch (error) {
      if (error.name === "AbortError") return;
      fill(this.trouble, problem(error));
    }
    setTimeout(() => this.connect(), AGAIN_MS);
  }

  take(t) {
    this.seen += 1;
    this.waiting.push(t);
    if (this.waiting.length > KEPT) {
      this.waiting.shift();
      if (this.paused) this.missed += 1;
    }
  }

  /** A finding is said above the list, the latest alone. */
  found(finding) {
    fill(this.news, h("div", { class: "notice bar-row" }, severity(finding.severity),
      h("a", { href: address(["findings", finding.id]) }, finding.title), raw([finding.service, finding.route].filter(Boolean).join(" ")), when(finding.time)));
    say(`Finding: ${finding.title}`);
    document.dispatchEvent(new Event("triaged"));
  }

  tick() {
    const before = performance.now();
    this.paint();
    void this.body.offsetHeight; // the layout is most of the cost, and happens now
    this.timer = setTimeout(() => this.tick(), Math.max(PAINT_MS, BUSY_PART * (performance.now() - before)));
  }

  paint() {
    if (!this.paused && this.waiting.length) {
      const fresh = this.waiting.reverse();
      this.waiting = [];
      this.rows = [...fresh, ...this.rows].slice(0, KEPT);
      this.body.prepend(...fresh.map((t) => {
        const row = rowOf(t, liveColumns);
        row.classList.add("leads", "fresh");
        return row;
      }));
      while (this.body.rows.length > KEPT) this.body.lastElementChild.remove();
      this.nothing.hidden = true;
    }
    this.tell();
  }

  tell() {
    const lost = this.dropped + this.missed;
    const text = [
      this.connected ? (this.paused ? `paused, ${full(this.waiting.length)} waiting` : `${full(this.seen)} seen`) : "connecting",
      lost ? `, ${full(lost)} left out` : "",
    ].join("");
    if (this.note.textContent !== text) {
      this.note.textContent = text;
      this.note.title = lost ? `${full(this.dropped)} dropped because this browser read too slowly, ${full(this.missed)} while paused` : "";
    }
  }

  toggle() {
    this.paused = !this.paused;
    this.pause.textContent = this.paused ? "Go on" : "Pause";
    this.pause.setAttribute("aria-pressed", String(this.paused));
    this.paint();
  }

  clear() {
    this.rows = [];
    this.waiting = [];
    this.seen = this.dropped = this.missed = 0;
    fill(this.body);
    this.nothing.hidden = false;
    this.tell();
  }

  open(t) {
    const close = h("button", { type: "button", data: { key: "Escape" }, onclick: () => this.close() }, "Close ", h("kbd", null, "Esc"));
    fill(this.drawer,
      h("div", { class: "drawer-head" }, h("a", { href: address(["transactions", t.id]) }, "Its own page"), close),
      h("div", { class: "view drawer-body" }, title(t), detail(t, null)));
    this.drawer.querySelector("h1").replaceWith(h("h2", null, ...this.drawer.querySelector("h1").childNodes));
    this.drawer.hidden = false;
    this.split.classList.add("open");
  }

  close() {
    this.drawer.hidden = true;
    fill(this.drawer);
    this.split.classList.remove("open");
  }

  end() {
    this.source?.close();
    clearTimeout(this.timer);
  }
}

export function show(view, { query, signal }) {
  new Stream(view, query, signal);
}
