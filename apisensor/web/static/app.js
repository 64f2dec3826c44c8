// The page: navigation, colours, keyboard; the views lie in views/.

import { fill, h, s } from "./dom.js";
import { get } from "./api.js";
import { concerns } from "./concerns.js";
import { keys } from "./keys.js";
import { start } from "./router.js";
import * as endpoint from "./views/endpoint.js";
import * as finding from "./views/finding.js";
import * as findings from "./views/findings.js";
import * as health from "./views/health.js";
import * as inventory from "./views/inventory.js";
import * as live from "./views/live.js";
import * as overview from "./views/overview.js";
import * as transaction from "./views/transaction.js";
import * as transactions from "./views/transactions.js";

const VIEWS = [
  { name: "", title: "Overview", key: "o", icon: "M3 13h4v8H3zM10 8h4v13h-4zM17 3h4v18h-4z", show: overview.show },
  { name: "live", title: "Live", key: "l", icon: "M2 12h4l3-8 5 16 3-8h5", show: live.show },
  { name: "inventory", title: "Inventory", key: "i", icon: "M4 5h16M4 12h16M4 19h16", show: inventory.show },
  { name: "findings", title: "Findings", key: "f", icon: "M12 3l9 17H3zM12 10v4M12 16.500v1", show: findings.show },
  { name: "transactions", title: "Transactions", key: "t", icon: "M4 8h14l-4-4M20 16H6l4 4", show: transactions.show },
  { name: "health", title: "Health", key: "h", icon: "M12 20s-8-5-8-11a4.500 4.500 0 0 1 8-2.500A4.500 4.500 0 0 1 20 9c0 6-8 11-8 11z", show: health.show },
];
const DETAILS = [
  { name: "inventory", title: "Endpoint", show: endpoint.show },
  { name: "findings", title: "Finding", show: finding.show },
  { name: "transactions", title: "Transaction", show: transaction.show },
];

const BADGES = { findings: "open-count", health: "concern-count" };

function icon(path) {
  return s("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, s("path", { d: path }));
}

function navigation() {
  const list = h("ul", null, VIEWS.map((view) =>
    h("li", null, h("a", { href: `/${view.name}`, data: { view: view.name || "overview" }, title: `g ${view.key}` },
      icon(view.icon), h("span", null, view.title), BADGES[view.name] && h("span", { class: "badge", id: BADGES[view.name] })))));
  fill(document.getElementById("nav"), list);
}

function shown(name) {
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.dataset.view === (name || (location.pathname === "/" ? "overview" : ""))) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

const THEMES = { "": "System colours", light: "Light", dark: "Dark" };

function nextTheme() {
  const order = Object.keys(THEMES);
  const now = document.documentElement.dataset.theme ?? "";
  setTheme(order[(order.indexOf(now) + 1) % order.length]);
}

function setTheme(name) {
  if (name) {
    document.documentElement.dataset.theme = name;
    localStorage.setItem("theme", name);
  } else {
    delete document.documentElement.dataset.theme;
    localStorage.removeItem("theme");
  }
  document.getElementById("theme").value = name;
}

function sideEnd() {
  const theme = h("select", { id: "theme", "aria-label": "Colours", onchange: (event) => setTheme(event.target.value) },
    Object.entries(THEMES).map(([value, text]) => h("option", { value }, text)));
  theme.value = document.documentElement.dataset.theme ?? "";
  const help = h("button", { type: "button", class: "plain", id: "help", title: "?" }, "Keyboard ", h("kbd", null, "?"));
  fill(document.getElementById("side-end"), theme, help);
}

async function countOpen() {
  const badge = document.getElementById("open-count");
  try {
    const page = await get(["findings"], { state: "open", limit: 1 });
    fill(badge, page.total ? String(page.total) : "", page.total ? h("span", { class: "sr" }, " open") : null);
  } catch {
    fill(badge);
  }
}

async function countConcerns() {
  const badge = document.getElementById("concern-count");
  const { length } = await concerns();
  fill(badge, length ? String(length) : "", length ? h("span", { class: "sr" }, " to look at") : null);
}

function count() {
  countOpen();
  countConcerns();
}

navigation();
sideEnd();
keys(VIEWS, nextTheme);
start([...VIEWS.map((view) => ({ ...view, detail: false })), ...DETAILS.map((view) => ({ ...view, detail: true }))], shown);
count();
setInterval(count, 30_000);
document.addEventListener("triaged", countOpen);
