// Which view an address shows. A view is `show(root, {id, query, signal})`; the signal is aborted when it is left.

import { address, fill, h, say } from "./dom.js";

let routes = [];
let left = new AbortController();
let onShown = () => {};

export function start(table, shown) {
  routes = table;
  onShown = shown;
  document.addEventListener("click", follow);
  addEventListener("popstate", () => render(false));
  render(true);
}

/** Goes to an address of this page. */
export function go(to, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", to);
  render(!replace);
}

/** The same view with other parameters; `cursor` begins anew. */
export function change(parameters, options) {
  const query = Object.fromEntries(new URLSearchParams(location.search));
  const parts = location.pathname.split("/").filter(Boolean).map(decodeURIComponent);
  go(address(parts, { ...query, cursor: null, at: null, ...parameters }), options);
}

function follow(event) {
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  if (link.origin !== location.origin || link.hash || link.hasAttribute("download")) return;
  if (link.pathname.startsWith("/api/")) return;
  event.preventDefault();
  go(link.pathname + link.search);
}

function render(fresh) {
  left.abort();
  left = new AbortController();
  const parts = location.pathname.split("/").filter(Boolean);
  const route = routes.find((one) => one.name === (parts[0] ?? "") && one.detail === parts.length > 1);
  const root = document.getElementById("main");
  const query = Object.fromEntries(new URLSearchParams(location.search));
  const id = parts[1] ? decodeURIComponent(parts[1]) : "";
  const view = h("div", { class: "view" });
  if (!route || parts.length > 2) {
    fill(root, add404());
    document.title = "Not found - apisensor";
    onShown("");
    return;
  }
  document.title = `${route.title} - apisensor`;
  route.show(view, { id, query, signal: left.signal });
  keepingFocus(root, () => fill(root, view));
  if (fresh) {
    scrollTo(0, 0);
    say(route.title);
  }
  onShown(route.name);
}

/** What had the focus has it afterwards (filters redraw their view, also while one types); else the view has it. */
function keepingFocus(root, draw) {
  const before = document.activeElement;
  const inside = root.contains(before);
  const { id, value, selectionStart, selectionEnd } = before ?? {};
  draw();
  const after = inside && id ? document.getElementById(id) : null;
  if (!after) {
    if (inside) root.focus({ preventScroll: true });
    return;
  }
  after.focus({ preventScroll: true });
  if (after.type !== "search" && after.type !== "text") return;
  after.value = value;
  after.setSelectionRange(selectionStart, selectionEnd);
}

function add404() {
  return h("div", { class: "view" },
    h("h1", null, "There is nothing at this address"),
    h("p", null, h("a", { href: "/" }, "Go to the overview")));
}
