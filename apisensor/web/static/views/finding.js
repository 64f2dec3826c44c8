// One finding: what shows it, what happened to it, what to do with it.

import { get, post } from "../api.js";
import { transactionColumns, transactionHref } from "../columns.js";
import { address, add, fill, h, say } from "../dom.js";
import { full, when } from "../format.js";
import { STATES, empty, facts, identity, load, panel, place, problem, raw, severity, state, table, tag } from "../parts.js";

const ACTIONS = { acknowledged: "Acknowledge", closed: "Close", false_positive: "False positive", open: "Open again" };
const OWASP = "https://owasp.org/API-Security/editions/2023/en/0x11-t10/";

function evidence(entries) {
  const shown = (value) => Array.isArray(value) ? value.map((one) => h("div", null, raw(one))) : typeof value === "number" ? full(value) : raw(value);
  return h("div", { class: "scroll wrap", tabindex: "0", role: "region", "aria-label": "Evidence" },
    h("table", null, h("thead", null, h("tr", null, h("th", { scope: "col" }, "What"), h("th", { scope: "col" }, "Value"))),
      h("tbody", null, Object.entries(entries).map(([name, value]) =>
        h("tr", null, h("th", { scope: "row" }, name.replaceAll("_", " ")), h("td", null, shown(value)))))));
}

function timeline(events) {
  return h("ol", { class: "timeline" }, [...events].reverse().map((event) => h("li", null,
    h("div", null, state(event.state), h("span", { class: "muted" }, " by ", h("bdi", null, event.who), ", "), when(event.time)),
    event.comment ? h("p", { class: "comment" }, event.comment.split("\n").map((line) => h("div", null, h("bdi", null, line)))) : null)));
}

function triage(finding, changed) {
  const who = h("input", { id: "who", maxlength: "80", autocomplete: "name", value: localStorage.getItem("who") ?? "" });
  const comment = h("textarea", { id: "comment", maxlength: "2000", rows: "3" });
  const said = h("div", { role: "alert" });
  const decide = async (to, buttons) => {
    for (const button of buttons) button.disabled = true;
    fill(said);
    try {
      localStorage.setItem("who", who.value);
      const after = await post(["findings", finding.id, "state"], { state: to, comment: comment.value, who: who.value });
      document.dispatchEvent(new Event("triaged"));
      say(`The finding is ${STATES[after.state].toLowerCase()}`);
      changed(after);
    } catch (error) {
      fill(said, problem(error));
      for (const button of buttons) button.disabled = false;
    }
  };
  const buttons = Object.entries(ACTIONS).filter(([to]) => to !== finding.state).map(([to, text]) =>
    h("button", { type: "button", class: to === "acknowledged" ? "primary" : null, data: { to } }, text));
  for (const button of buttons) button.addEventListener("click", () => decide(button.dataset.to, buttons));
  return h("div", { class: "triage" },
    h("label", { for: "comment" }, "Comment"), comment,
    h("div", { class: "bar-row" }, h("label", { for: "who" }, "Your name"), who),
    h("div", { class: "bar-row" }, buttons), said);
}

function about(finding) {
  const endpoint = finding.endpoint
    ? h("a", { href: address(["inventory", finding.endpoint]) }, raw(finding.route ?? finding.endpoint))
    : raw(finding.route);
  return facts([
    ["State", state(finding.state)],
    ["Occurrences", full(finding.count)],
    ["First seen", when(finding.first_seen)],
    ["Last seen", when(finding.last_seen)],
    ["Found", when(finding.time)],
    ["Rule", h("code", null, finding.rule)],
    ["Category", finding.category ? h("a", { href: OWASP, rel: "noreferrer noopener", target: "_blank" }, `OWASP ${finding.category}`) : "–"],
    ["Endpoint", endpoint],
    ["Service", finding.service ? h("a", { href: address(["inventory"], { owner: finding.service }) }, raw(finding.service)) : "–"],
    ["Client", finding.client ? h("a", { href: address(["transactions"], { client: finding.client }) }, raw(finding.client)) : "–"],
    ["Server", raw(finding.server)],
    ["Identity", identity(finding.identity)],
  ]);
}

export function show(view, { id, signal }) {
  const body = place("table-tall");
  add(view, body);
  const content = (finding) => {
    document.title = `${finding.title} - apisensor`;
    const calls = place("list-tall");
    load(calls, signal, async () => {
      const { rows } = await get(["findings", id, "transactions"], {}, signal);
      if (!rows.length) return empty("The transactions are not stored", "They were not stored, or their time is over (store.finding_days).");
      return table({ caption: "Transactions of this finding", columns: transactionColumns, rows, href: transactionHref });
    });
    return h("div", { class: "view" },
      h("p", { class: "crumb" }, h("a", { href: "/findings" }, "Findings")),
      h("div", { class: "title-line" }, severity(finding.severity), h("h1", null, finding.title), finding.category ? tag(finding.category) : null),
      h("div", { class: "columns" },
        h("div", { class: "view" },
          finding.meaning ? panel("What it means", h("p", null, finding.meaning), h("p", null, h("strong", null, "What to do. "), finding.remedy)) : null,
          panel("About", about(finding)),
          panel("Evidence", evidence(finding.evidence))),
        h("div", { class: "view" },
          panel("Decide", triage(finding, (after) => fill(body, content(after)))),
          panel("What happened to it", timeline(finding.events)))),
      panel("Transactions", calls),
      finding.trace_ids.length
        ? panel("Traces", h("ul", { class: "plain-list" }, finding.trace_ids.map((trace) =>
          h("li", null, h("a", { href: address(["transactions"], { trace_id: trace }), class: "raw" }, trace)))))
        : null);
  };
  load(body, signal, async () => content(await get(["findings", id], {}, signal)));
}
