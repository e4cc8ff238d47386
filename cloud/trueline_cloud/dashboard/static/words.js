// Words and numbers, as the page writes them, and the nodes it writes them into.

export const K95 = 1.96; // coverage factor of a 95 % interval (GUM, normal distribution)
export const FLAGS = { 1: "pass", 2: "not evaluated", 3: "suspect", 4: "fail", 9: "missing" };

// UCUM codes people know by another sign.
export const UNITS = { 1: "", Cel: "°C", "[degF]": "°F", deg: "°", Ohm: "Ω", um: "µm", us: "µs", "m/s2": "m/s²", "m3/h": "m³/h" };

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
export const count = (n) => whole.format(n).replaceAll(",", "\u202f");
export const rows = (n) => `${count(n)} ${n === 1 ? "row" : "rows"}`;
export const reasonName = (reason) => reason.replaceAll("_", " ");
export const sum = (numbers) => numbers.reduce((total, n) => total + n, 0);

export function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let power = 0;
  for (; bytes >= 1000 && power < 4; power += 1) bytes /= 1000;
  return `${bytes.toFixed(power ? 1 : 0)} ${units[power]}`;
}

export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 129600) return `${Math.round(s / 3600)} h`;
  return `${count(Math.round(s / 86400))} days`;
}

export const stamp = (ms) => new Date(ms).toISOString().replace("T", " ").replace(/\.000Z$|Z$/, "");
export const clockTime = (ms) => new Date(ms).toISOString().slice(11, 19);

// A value to as many decimals as its uncertainty has two significant digits (GUM, 7.2.6).
export function measured(value, u, resolution) {
  if (value === null || value === undefined) return ["–", ""];
  const half = u ? K95 * u : null;
  const grid = half ?? resolution ?? 0;
  const places = grid > 0 ? (half ? 1 : 0) - Math.floor(Math.log10(grid)) : 4;
  const decimals = Math.min(12, Math.max(0, places));
  return [value.toFixed(decimals).replace("-", "\u2212"), half === null ? "± unknown" : `± ${half.toFixed(decimals)}`];
}

export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") node.className = value;
    else if (name.startsWith("data-")) node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}

export const short = (value) => (value === null ? null : Number(value.toPrecision(7)));

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
