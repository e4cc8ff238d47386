// What detectors on devices raised: asked for when the fleet's news say that a lane of events has grown, then listed,
// marked in the chart, and opened to the rows that raised it. Nothing is judged here: the verdict is the device's.

import { K95, UNITS, clockTime, count, element, setText, span, stamp } from "./words.js";

const KEPT_MS = 7 * 86400000; // how far back events are listed
const ASKED = 300; // so many, at most
const LISTED = 60; // so many at a time
const AT_ONCE = 4; // of more devices than these, one question is asked for all
const FRESH_MS = 60000; // an event of which nothing was heard for so long is not going on
const LABEL_PX = 120; // where marks have less room than this each, they have a letter, not a label

// Each kind has a word, a letter and a shape beside its colour.
const WHATS = {
  "sensor fault": { look: "sensor", word: "Sensor fault", letter: "S" },
  "process anomaly": { look: "process", word: "Process anomaly", letter: "P" },
  "": { look: "unknown", word: "Event, cause unknown", letter: "?" },
};
const KINDS = {
  nan_run: "no readings", stuck: "stuck", spike: "spike", noise_increase: "more noise", drift: "drift", bias_step: "step", burst: "burst",
  gain_change: "another gain", saturation: "at its limit", unit_flip: "another unit", swapped_channels: "swapped",
};

const few = (value) => String(Number(value.toPrecision(4))).replace("-", "\u2212");
const lookOf = (event) => WHATS[event.what] ?? WHATS[""];
const keyOf = (event) => [event.device, event.stream, event.detector, event.begun_us].join("/");
const begunMs = (event) => event.begun_us / 1000;
const lastMs = (event) => event.last_ns / 1e6;
const kindWord = (event) => (event.kind ? KINDS[event.kind] ?? event.kind : "");

function chip(event) {
  const { look, word, letter } = lookOf(event);
  const badge = element("i", { class: "letter" }, letter);
  badge.setAttribute("aria-hidden", "true");
  return element("span", { class: "what", "data-look": look }, badge, word);
}

// "flow: step", as far as it is known.
const subject = (event) => [event.channel, kindWord(event)].filter(Boolean).join(": ");

export class Events {
  // `ask` asks the service; `clock` is its clock; `show` is called with an event whose channel is to be charted; `changed`
  // when other events are to be marked.
  constructor({ ask, clock, show, changed }) {
    Object.assign(this, { ask, clock, show, changed, known: new Map(), grown: new Map(), due: new Set(), nodes: new Map(), open: null, device: null });
    this.list = document.getElementById("events");
    this.everywhere = document.getElementById("events-all");
    this.everywhere.addEventListener("change", () => this.draw());
  }

  // News of the fleet: a lane of events that has grown since it was last looked at is asked about.
  news(devices) {
    for (const { info, lanes } of devices) {
      const stored = lanes.find((lane) => lane.lane === "event")?.rows_stored ?? 0;
      if (stored !== (this.grown.get(info.device) ?? 0)) this.due.add(info.device);
      this.grown.set(info.device, stored);
    }
    this.learn();
  }

  async learn() {
    if (this.asking || !this.due.size) return;
    this.asking = true;
    const devices = this.due.size > AT_ONCE ? [null] : [...this.due];
    this.due.clear();
    try {
      for (const device of devices) await this.read(device);
    } catch { /* the next news asks again */
      for (const device of devices) if (device) this.grown.delete(device);
      if (devices[0] === null) this.grown.clear();
    } finally {
      this.asking = false;
    }
    this.draw();
    this.changed();
    if (this.due.size) this.learn();
  }

  async read(device) {
    const asked = { from: new Date(this.clock.now() - KEPT_MS).toISOString(), limit: ASKED, ...(device ? { device } : {}) };
    const answer = await this.ask("/api/v1/events", asked);
    for (const [key, event] of this.known) if (device === null || event.device === device) this.known.delete(key);
    for (const event of answer.events) this.known.set(keyOf(event), event);
  }

  newest() { return [...this.known.values()].sort((a, b) => b.begun_us - a.begun_us); }

  goesOn(event) { return event.phase !== "ended" && this.clock.now() - lastMs(event) < FRESH_MS; }

  latestOf(device) {
    let latest = null;
    for (const event of this.known.values()) if (event.device === device && (!latest || event.begun_us > latest.begun_us)) latest = event;
    return latest;
  }

  // A device's newest event, for its place in the fleet; nothing where it has none.
  line(device) {
    const latest = this.latestOf(device);
    if (!latest) return [];
    const age = this.goesOn(latest) ? "going on" : `${span((this.clock.now() - begunMs(latest)) / 1000)} ago`;
    return [element("div", { class: "newest-event" }, chip(latest), ` ${latest.channel} · ${age}`)];
  }

  needsAttention(device) {
    const latest = this.latestOf(device);
    return latest !== null && this.goesOn(latest);
  }

  choose(device) {
    if (this.device !== device) this.open = null;
    this.device = device;
    this.draw();
  }

  // ---- the list ----

  draw() {
    const all = this.newest();
    const mine = all.filter((event) => this.everywhere.checked || event.device === this.device);
    const listed = mine.slice(0, LISTED);
    const keys = new Set(listed.map(keyOf));
    for (const [key, node] of this.nodes) if (!keys.has(key)) { node.remove(); this.nodes.delete(key); }
    listed.forEach((event, i) => {
      const node = this.nodeOf(event);
      if (this.list.children[i] !== node) this.list.insertBefore(node, this.list.children[i] ?? null);
      this.fill(node, event);
    });
    document.getElementById("events-none").hidden = mine.length > 0;
    setText(document.getElementById("events-note"), mine.length > listed.length ? `The newest ${LISTED} of ${count(mine.length)}.` : "");
    this.summarise(all);
    this.alert();
  }

  summarise(all) {
    const recent = all.filter((event) => begunMs(event) > this.clock.now() - 86400000);
    const of = (what) => recent.filter((event) => event.what === what).length;
    setText(document.getElementById("sum-events"), count(recent.length));
    const told = [[of("sensor fault"), "sensor"], [of("process anomaly"), "process"], [of(""), "unknown"]].filter(([n]) => n).map(([n, word]) => `${count(n)} ${word}`);
    setText(document.getElementById("sum-kinds"), told.join(", ") || "none in 24 h");
  }

  // What goes on at the chosen device, in one sentence above its chart.
  alert() {
    const now = this.newest().filter((event) => event.device === this.device && this.goesOn(event))[0];
    const box = document.getElementById("alert");
    box.hidden = !now;
    if (!now) return;
    box.dataset.look = lookOf(now).look;
    const text = `${now.what ? "" : "cause unknown"}${now.channel}${kindWord(now) ? ` (${kindWord(now)})` : ""}, stream ${now.stream}, since ${clockTime(begunMs(now))} UTC${this.sureness(now)}`;
    if (box.dataset.text === text) return;
    box.dataset.text = text;
    box.replaceChildren(chip(now), ` ${text}`);
  }

  sureness(event) { return event.confidence === null ? "" : event.confidence < 0.6 ? " · a guess" : ` · confidence ${event.confidence.toFixed(2)}`; }

  nodeOf(event) {
    const key = keyOf(event);
    let node = this.nodes.get(key);
    if (!node) {
      const button = element("button", { type: "button", class: "event-head" });
      button.addEventListener("click", () => this.toggle(key));
      node = element("li", { class: "event", "data-event": key }, button, element("div", { class: "event-body", hidden: true }));
      this.nodes.set(key, node);
    }
    return node;
  }

  fill(node, event) {
    const { look } = lookOf(event);
    node.dataset.look = look;
    const goesOn = this.goesOn(event);
    const lasted = (event.last_ns / 1000 - event.begun_us) / 1e6;
    const told = [event.what, event.channel, event.kind, event.confidence, event.phase, goesOn, event.rows].join("/");
    if (node.dataset.told !== told) {
      node.dataset.told = told;
      const duration = goesOn ? "going on" : `${span(lasted)}${event.phase === "ended" ? "" : " seen"}`;
      node.firstChild.replaceChildren(
        chip(event), element("b", { class: "subject" }, subject(event)),
        element("span", { class: "where" }, `${event.device} · ${event.stream}`),
        element("span", { class: "sure" }, this.sureness(event).replace(" · ", "")),
        element("span", { class: "when", title: `${stamp(Math.round(begunMs(event)))} UTC` }, `${clockTime(begunMs(event))} UTC · ${duration}`),
      );
      if (this.open === keyOf(event)) this.unfold(event);
    }
    const open = this.open === keyOf(event);
    node.firstChild.setAttribute("aria-expanded", String(open));
    node.lastChild.hidden = !open;
  }

  toggle(key) {
    this.open = this.open === key ? null : key;
    const event = this.known.get(key);
    this.draw();
    if (this.open && event) this.unfold(event);
  }

  // ---- the rows that raised it ----

  async unfold(event) {
    const body = this.nodeOf(event).lastChild;
    let window;
    try {
      const { device, stream, detector, begun_us } = event;
      window = await this.ask("/api/v1/events/window", { device, stream, detector, begun_us });
    } catch (error) {
      body.replaceChildren(element("p", { class: "quiet" }, error.message));
      return;
    }
    const button = element("button", { type: "button", class: "plain" }, "Show in the chart");
    button.addEventListener("click", () => this.show(event));
    const times = window.time_ns.map((time) => time / 1e6);
    const p = event.p === null ? "" : ` Normal running looks like that once in ${count(Math.round(1 / event.p))} rows or less often.`;
    body.replaceChildren(
      element("p", { class: "quiet" }, `${count(event.rows)} rows, ${clockTime(times[0])} to ${clockTime(times.at(-1))} UTC; the line is where it began.${p} Model ${event.detector}, version ${event.model}.`),
      element("ul", { class: "event-traces" }, ...window.series.map((series, j) => trace(series, times, begunMs(event), event.shares[j]?.share ?? null, series.channel === event.channel))),
      button,
    );
  }

  // ---- in the chart ----

  // Shapes and labels for the events of a stream between two times; those of the charted channel stand out.
  marks(device, stream, channel, [start, end], colour, width) {
    const here = this.newest().filter((event) => event.device === device && event.stream === stream && lastMs(event) >= start && begunMs(event) <= end);
    const least = (end - start) / 300;
    const crowded = here.length * LABEL_PX > width;
    const tint = (event) => colour[lookOf(event).look];
    const shapes = here.map((event) => {
      const strong = event.channel === channel;
      return {
        type: "rect", xref: "x", yref: "paper", x0: begunMs(event), x1: Math.max(lastMs(event), begunMs(event) + least), y0: 0, y1: 1, layer: "below",
        fillcolor: tint(event), opacity: strong ? 0.3 : 0.12, line: { width: strong ? 1 : 0, color: tint(event), dash: event.what === "sensor fault" ? "dot" : "solid" },
      };
    });
    const annotations = here.map((event, i) => ({
      x: begunMs(event), xref: "x", y: 1, yref: "paper", xanchor: begunMs(event) > end - 0.2 * (end - start) ? "right" : "left", yanchor: "top", yshift: crowded ? 0 : -15 * (i % 3), showarrow: false,
      text: crowded ? lookOf(event).letter : `${lookOf(event).look} · ${event.channel || "?"}`,
      font: { size: 11, color: colour.panel }, bgcolor: tint(event), borderpad: 2, hovertext: `${lookOf(event).word}: ${subject(event)}`,
    }));
    return { here, shapes, annotations };
  }
}

// One input over the window: a line in its band, where it began, and how much of the score came from it.
function trace(series, times, begun, share, accused) {
  const [width, height, pad] = [600, 60, 4];
  const low = series.value.map((v, i) => (v === null ? null : v - K95 * (series.u[i] ?? 0)));
  const high = series.value.map((v, i) => (v === null ? null : v + K95 * (series.u[i] ?? 0)));
  const known = series.value.filter((v) => v !== null);
  const [least, most] = [Math.min(...known), Math.max(...known)];
  const room = Math.max(most - least, 1e-12);
  const bottom = Math.max(Math.min(least, ...low.filter((v) => v !== null)), least - room); // the band, but no more of it than of the line
  const top = Math.min(Math.max(most, ...high.filter((v) => v !== null)), most + room);
  const span_ = Math.max(times.at(-1) - times[0], 1);
  const x = (time) => (((time - times[0]) / span_) * width).toFixed(1);
  const y = (value) => (height - pad - ((Math.min(Math.max(value, bottom), top) - bottom) / Math.max(top - bottom, 1e-12)) * (height - 2 * pad)).toFixed(1);
  const svg = vector("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": `${series.channel}, ${known.length} values ${known.length ? `from ${few(least)} to ${few(most)} ${series.unit}` : ""}` });
  for (const run of runs(series.value, times)) {
    if (series.u[run[0]] !== null) svg.append(vector("polygon", { class: "event-trace-band", points: [...run.map((i) => `${x(times[i])},${y(high[i])}`), ...run.toReversed().map((i) => `${x(times[i])},${y(low[i])}`)].join(" ") }));
    svg.append(vector("polyline", { class: "event-trace-line", points: run.map((i) => `${x(times[i])},${y(series.value[i])}`).join(" ") }));
  }
  svg.append(vector("line", { class: "event-trace-begun", x1: x(begun), x2: x(begun), y1: 0, y2: height }));
  const part = share === null ? "" : `${Math.round(100 * share)} % of the score`;
  const unit = UNITS[series.unit] ?? series.unit;
  const ends = known.length ? `${few(least)} to ${few(most)} ${unit}` : "no value";
  return element("li", { class: "event-trace", "data-accused": String(accused) }, element("div", { class: "event-trace-name" }, element("b", {}, series.channel), element("span", { class: "quiet" }, part), element("span", { class: "quiet" }, ends)), svg);
}

// Indices without a hole between them, in values or in time: the end of a long event is told without its middle.
function runs(values, times) {
  const steps = times.slice(1).map((time, i) => time - times[i]).sort((a, b) => a - b);
  const limit = 3 * (steps[steps.length >> 1] ?? 0);
  const found = [];
  values.forEach((value, i) => {
    if (value === null) return;
    const last = found.at(-1)?.at(-1);
    if (last !== i - 1 || times[i] - times[last] > limit) found.push([]);
    found.at(-1).push(i);
  });
  return found;
}

function vector(tag, attributes) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}
