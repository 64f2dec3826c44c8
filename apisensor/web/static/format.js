// Numbers, sizes, times: short to read, exact on hover.

import { h } from "./dom.js";

const exact = new Intl.NumberFormat("en");
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });
const UNITS = [
  [86_400, "d"],
  [3_600, "h"],
  [60, "min"],
];

export const full = (n) => exact.format(n);

/** 1234 -> "1,234", 123456 -> "123k". */
export function short(n) {
  if (n === null || n === undefined) return "–";
  if (Math.abs(n) < 10_000) return exact.format(n);
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (Math.abs(n) >= size * 0.9995) {
      const value = n / size;
      return (value < 9.95 ? value.toFixed(1) : exact.format(Math.round(value))) + unit;
    }
  }
  return exact.format(n);
}

export function number(n) {
  const text = short(n);
  return text === String(n) ? text : h("span", { title: n === null ? null : full(n) }, text);
}

export function bytes(n) {
  if (n === null || n === undefined) return "–";
  let value = n;
  let unit = 0;
  while (value >= 999.5 && unit < 4) {
    value /= 1000;
    unit += 1;
  }
  return `${unit && value < 9.95 ? value.toFixed(1) : Math.round(value)} ${["B", "kB", "MB", "GB", "TB"][unit]}`;
}

export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0 ms";
  if (value < 1) return `${value.toFixed(2)} ms`;
  if (value < 9.95) return `${value.toFixed(1)} ms`;
  if (value < 999.5) return `${Math.round(value)} ms`;
  return value < 99_500 ? `${(value / 1000).toFixed(1)} s` : span(value / 1000);
}

export function percent(part, whole) {
  if (!whole) return "–";
  const value = (100 * part) / whole;
  if (value === 0) return "0 %";
  if (value < 0.01) return "< 0.01 %";
  return `${value < 1 ? value.toFixed(2) : value < 10 ? value.toFixed(1) : Math.round(value)} %`;
}

/** Seconds as "3 d 4 h". */
export function span(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  for (let i = 0; i < UNITS.length; i += 1) {
    const [size, unit] = UNITS[i];
    if (seconds < size) continue;
    const rest = UNITS[i + 1] ? Math.floor((seconds % size) / UNITS[i + 1][0]) : 0;
    return `${Math.floor(seconds / size)} ${unit}${rest ? ` ${rest} ${UNITS[i + 1][1]}` : ""}`;
  }
  return "";
}

function ago(date) {
  const seconds = (Date.now() - date) / 1000;
  if (seconds < 0) return "just now";
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.round(seconds)} s ago`;
  if (seconds < 3_600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.round(seconds / 3_600)} h ago`;
  return `${Math.round(seconds / 86_400)} d ago`;
}

/** RFC 3339 text as "3 min ago", absolute on hover; renewed as time passes. */
export function when(text) {
  if (!text) return "–";
  const date = new Date(text);
  return h("time", { datetime: date.toISOString(), title: `${moment.format(date)} (${text})` }, ago(date));
}

const day = new Intl.DateTimeFormat(undefined, { month: "short", day: "numeric" });

/** RFC 3339 text as a clock reads, with milliseconds; with its day where that is not today. */
export function clock(text) {
  const date = new Date(text);
  const parts = [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => String(n).padStart(2, "0"));
  const shown = `${parts.join(":")}.${String(date.getMilliseconds()).padStart(3, "0")}`;
  const today = date.toDateString() === new Date().toDateString();
  return h("time", { datetime: date.toISOString(), title: `${moment.format(date)} (${text})` }, today ? "" : `${day.format(date)} `, shown);
}

export const absolute = (date) => moment.format(date);

setInterval(() => {
  for (const element of document.querySelectorAll("time[datetime]")) {
    if (/ago$|^just now$/.test(element.textContent)) element.textContent = ago(new Date(element.dateTime));
  }
}, 10_000);
