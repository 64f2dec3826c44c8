// The keyboard: g then a letter, / for the search, j and k in lists, Esc out of what is open, ? for what there is.

import { fill, h } from "./dom.js";
import { go } from "./router.js";

const CHORD_MS = 1_200;

export function keys(views, nextTheme) {
  let chord = 0;
  const simple = {
    "/": () => document.querySelector("main [type=search]")?.focus(),
    "?": () => toggleHelp(views),
    j: () => step(1),
    k: () => step(-1),
    c: nextTheme,
    p: () => document.querySelector("main [data-key=p]")?.click(),
    n: () => document.querySelector("main [data-key=n]")?.click(),
  };
  document.getElementById("help").addEventListener("click", () => toggleHelp(views));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      escape(event);
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, textarea, select")) return;
    if (document.querySelector("#overlay dialog[open]") && event.key !== "?") return;
    if (chord && Date.now() - chord < CHORD_MS) {
      chord = 0;
      const view = views.find((one) => one.key === event.key);
      if (view) {
        event.preventDefault();
        go(`/${view.name}`);
      }
      return;
    }
    if (event.key === "g") {
      chord = Date.now();
      return;
    }
    if (simple[event.key]) {
      event.preventDefault();
      simple[event.key]();
    }
  });
}

function escape(event) {
  const dialog = document.querySelector("dialog[open]");
  if (dialog) return; // the dialog closes itself
  if (event.target.closest?.("input, textarea, select")) {
    event.target.blur();
    return;
  }
  const close = document.querySelector("main [data-key=Escape]");
  if (close) {
    close.click();
    return;
  }
  const parts = location.pathname.split("/").filter(Boolean);
  if (parts.length > 1) go(`/${parts[0]}`);
}

/** Moves the focus among the rows of lists. */
function step(by) {
  const rows = [...document.querySelectorAll("main .row-link")].filter((link) => link.offsetParent !== null);
  if (!rows.length) return;
  const now = rows.indexOf(document.activeElement);
  const next = now < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, now + by));
  rows[next].focus();
  rows[next].closest("tr, li")?.scrollIntoView({ block: "nearest" });
}

function toggleHelp(views) {
  const overlay = document.getElementById("overlay");
  const open = overlay.querySelector("dialog");
  if (open) {
    open.close();
    return;
  }
  const lines = [
    ...views.map((view) => [["g", view.key], view.title]),
    [["/"], "Search in this view"],
    [["j", "k"], "Next, previous row"],
    [["Enter"], "Open the row"],
    [["n"], "Next page"],
    [["p"], "Pause or go on (Live)"],
    [["Esc"], "Close, or go up"],
    [["c"], "Colours: system, light, dark"],
    [["?"], "This help"],
  ];
  const dialog = h("dialog", { "aria-labelledby": "keys-title", onclose: () => fill(overlay) },
    h("h2", { id: "keys-title" }, "Keyboard"),
    h("dl", { class: "keys" }, lines.map(([names, text]) =>
      h("div", null, h("dt", null, names.map((name) => h("kbd", null, name))), h("dd", null, text)))),
    h("form", { method: "dialog" }, h("button", null, "Close")));
  fill(overlay, dialog);
  dialog.showModal();
}
