// Elements from text. Everything that is shown was possibly written by an attacker, so text goes in as text nodes and
// attributes only, and what is not plainly visible (controls, bidirectional overrides, zero-width) as escapes.

const SVG = "http://www.w3.org/2000/svg";
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Cn}\p{Co}\p{Cs}\p{Zl}\p{Zp}\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0]|(?! )\p{Zs}/gu;

/** The text with everything that is not plainly visible as an escape, as apisensor tail shows it. */
export function visible(text) {
  return String(text).replace(INVISIBLE, (c) => {
    const code = c.codePointAt(0);
    if (code <= 0xff) return "\\x" + code.toString(16).padStart(2, "0");
    return code <= 0xffff ? "\\u" + code.toString(16).padStart(4, "0") : "\\U" + code.toString(16).padStart(8, "0");
  });
}

function build(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") for (const [key, text] of Object.entries(value)) element.dataset[key] = text;
    else if (name === "value") element.value = value;
    else element.setAttribute(name, value === true ? "" : name === "href" ? value : visible(value));
  }
  add(element, children);
  return element;
}

/** Appends children: nodes, text, numbers, lists of them; null and false are left out. */
export function add(element, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : visible(child));
  }
  return element;
}

/** An HTML element. `href` must be made by `address` or be a constant. */
export function h(tag, attributes, ...children) {
  return build(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s(tag, attributes, ...children) {
  return build(document.createElementNS(SVG, tag), attributes, children);
}

/** An address of this page: parts are escaped, parameters that are empty left out. */
export function address(parts, parameters = {}) {
  const path = "/" + parts.map(encodeURIComponent).join("/");
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "" && one !== false) query.append(name, String(one));
    }
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** Replaces what is in `element`. */
export function fill(element, ...children) {
  element.replaceChildren();
  return add(element, ...children);
}

/** Told to those who listen instead of look. */
export function say(text) {
  document.getElementById("said").textContent = visible(text);
}
