// The page: what the service pushes, shown. Nothing is asked for twice, nothing old is shown as new.
//
// Two lines are kept open (server-sent events): one for the fleet, one for the chosen stream. Each carries a beat, so
// that silence and a broken line are told apart. The past comes once from /api/v1/readings, in steps; what is pushed is
// summed up into the same steps here.

import { K95, FLAGS, UNITS, count, rows, reasonName, sum, size, span, stamp, clockTime, measured, element, short, setText } from "./words.js";
import { Events } from "./events.js";

const $ = (id) => document.getElementById(id);
const STEPS = 600; // steps the chart asks for
const SPAN_MIN_MS = 10000; // shortest span of time it shows
const SEVERITY = { 2: 1, 1: 2, 3: 3, 4: 4, 9: 5 }; // the worst flag of a step wins
const VERDICTS = { complete: "complete", pending: "pending", missing: "missing", orphaned: "orphaned tail", unused: "nothing sent yet" };
const REASONS = {
  forgotten: "given up by the device after the cloud was restored",
  corrupt: "found corrupt on the device's card",
  schema_lost: "sent without the description they need",
  dropped: "dropped by the device: its spool was full",
};

// ---- the server's clock, by which ages are judged ----------------------------------------------------------------

const clock = {
  offset: 0,
  now: () => Date.now() + clock.offset,
  heard: (nowNs) => { clock.offset = nowNs / 1e6 - Date.now(); },
};

// ---- a line: an event stream that mends itself -------------------------------------------------------------------

class Line {
  // `handlers` maps event names to functions of their data; `changed` is told "live" or "stale".
  constructor(url, handlers, changed) {
    Object.assign(this, { url, handlers, changed, state: "connecting", heardAt: Date.now(), beat: 5 });
    this.open();
    this.watch = setInterval(() => this.check(), 1000);
  }

  open() {
    this.source = new EventSource(this.url);
    this.openedAt = Date.now();
    for (const name of ["hello", "beat", ...Object.keys(this.handlers)]) {
      this.source.addEventListener(name, (event) => this.heard(name, JSON.parse(event.data)));
    }
    this.source.onerror = () => this.broken();
  }

  heard(name, data) {
    this.heardAt = Date.now();
    if (data.now_ns) clock.heard(data.now_ns);
    if (name === "hello") this.beat = data.beat_s;
    this.handlers[name]?.(data);
    this.become("live");
  }

  become(state) {
    if (this.state === state) return;
    this.state = state;
    this.changed(state, this.heardAt);
  }

  broken() {
    this.become("stale");
    if (this.source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    this.source.close();
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.again(), 2500);
  }

  async again() {
    if (this.ended) return;
    try {
      const answer = await fetch("/assets/icon.svg", { cache: "no-store" }); // small, and asks for the token as all else does
      if (answer.status === 401) return void location.assign("/login");
    } catch { /* the service is away: the line will say so again */ }
    if (!this.ended) this.open();
  }

  // A line may die without a word: no beat for three times its length means that it has.
  check() {
    const silent = Date.now() - Math.max(this.heardAt, this.openedAt);
    if (silent > 3000 * this.beat && this.source.readyState !== EventSource.CLOSED) {
      this.source.close();
      this.broken();
    }
  }

  close() {
    this.ended = true;
    clearTimeout(this.retry);
    clearInterval(this.watch);
    this.source.close();
  }
}

// ---- events ------------------------------------------------------------------------------------------------------

const events = new Events({ ask, clock, show: showEvent, changed: eventsChanged });

function eventsChanged() {
  for (const device of fleet.devices.values()) showDevice(device);
  filterFleet();
  drawSoon();
}

// ---- the fleet ---------------------------------------------------------------------------------------------------

const fleet = { devices: new Map(), nodes: new Map(), silentAfter: 150, chosen: null, line: null };

function stateOf(info) {
  if (!info.last_heard_ns) return ["silent", "never heard", null];
  const age = (clock.now() - info.last_heard_ns / 1e6) / 1000;
  if (info.online === false) return ["offline", "offline", age];
  if (age > fleet.silentAfter) return ["silent", "silent", age];
  return ["online", info.online ? "online" : "heard", age];
}

function showState(node, info) {
  const [state, word, age] = stateOf(info);
  node.dataset.state = state;
  const ago = age === null ? "" : state === "online" ? ` ${span(age)} ago` : ` · last heard ${span(age)} ago`;
  const text = word + ago;
  if (node.textContent === text) return;
  node.replaceChildren(element("b", {}, word), ago);
  node.title = age === null ? "" : `last heard ${stamp(info.last_heard_ns / 1e6)} UTC`;
}

const verdictOf = (lane) => (lane.rows_head === 0 && lane.verdict === "complete" ? "unused" : lane.verdict);

function verdictChip(lane) {
  const verdict = verdictOf(lane);
  return element("span", { class: "verdict", "data-verdict": verdict }, VERDICTS[verdict] ?? verdict);
}

function laneLine(lane) {
  const counts = element("span", { class: "counts" });
  if (lane.rows_head) counts.append(element("b", {}, count(lane.rows_stored)), " stored");
  if (lane.rows_pending) counts.append(" · ", element("b", {}, count(lane.rows_pending)), " pending");
  const line = element("div", { class: "lane", "data-lane": lane.lane },
    element("span", { class: "name" }, lane.lane), verdictChip(lane), counts);
  const why = Object.entries(lane.missing_by_reason).filter(([, n]) => n).map(([reason, n]) => `${count(n)} ${reasonName(reason)}`);
  if (lane.rows_missing) line.append(element("span", { class: "why" }, `${count(lane.rows_missing)} missing: ${why.join(", ") || "reason unknown"}`));
  if (lane.rows_orphaned) line.append(element("span", { class: "why odd" }, `${count(lane.rows_orphaned)} in an orphaned tail`));
  return line;
}

function deviceNode(name) {
  let node = fleet.nodes.get(name);
  if (!node) {
    const link = element("a", { href: `#${encodeURIComponent(name)}` }, name);
    node = element("li", { class: "device", "data-device": name },
      element("div", { class: "top" }, link, element("span", { class: "state" })), element("div", { class: "lines" }));
    fleet.nodes.set(name, node);
    const after = [...fleet.nodes.keys()].filter((other) => other > name).sort()[0];
    $("devices").insertBefore(node, after ? fleet.nodes.get(after) : null);
  }
  return node;
}

function showDevice(device) {
  const node = deviceNode(device.info.device);
  showState(node.querySelector(".state"), device.info);
  node.querySelector(".lines").replaceChildren(...device.lanes.map(laneLine), ...events.line(device.info.device));
}

const needsAttention = (device) =>
  stateOf(device.info)[0] !== "online" || events.needsAttention(device.info.device) || device.lanes.some((lane) => ["missing", "orphaned"].includes(lane.verdict));

function filterFleet() {
  const wanted = $("find").value.trim().toLowerCase();
  let shown = 0;
  for (const [name, device] of fleet.devices) {
    const fits = name.toLowerCase().includes(wanted) && (!$("attention").checked || needsAttention(device));
    fleet.nodes.get(name).hidden = !fits;
    shown += fits ? 1 : 0;
  }
  $("nothing").hidden = shown > 0;
}

function showSummary() {
  const devices = [...fleet.devices.values()];
  const lanes = devices.flatMap((device) => device.lanes);
  const total = (field) => sum(lanes.map((lane) => lane[field]));
  const away = devices.filter((device) => stateOf(device.info)[0] !== "online").length;
  setText($("sum-devices"), count(devices.length));
  setText($("sum-states"), away ? `${count(away)} offline or silent` : "all heard");
  setText($("sum-stored"), count(total("rows_stored")));
  const values = total("values");
  setText($("sum-size"), values ? `${count(values)} values, ${(total("bytes") / values).toFixed(2)} B each` : "");
  setText($("sum-pending"), count(total("rows_pending")));
  const missing = total("rows_missing");
  setText($("sum-missing"), count(missing));
  $("sum-missing").dataset.bad = String(missing > 0);
  const reasons = {};
  for (const lane of lanes) for (const [why, n] of Object.entries(lane.missing_by_reason)) reasons[why] = (reasons[why] ?? 0) + n;
  const told = Object.entries(reasons).filter(([, n]) => n).map(([why, n]) => `${count(n)} ${reasonName(why)}`);
  setText($("sum-reasons"), missing ? told.join(", ") || "rows" : "nothing is missing");
}

function fleetNews(news) {
  if (news.all) {
    const names = new Set(news.devices.map((device) => device.info.device));
    news.gone = [...fleet.devices.keys()].filter((name) => !names.has(name));
  }
  for (const name of news.gone) {
    fleet.devices.delete(name);
    fleet.nodes.get(name)?.remove();
    fleet.nodes.delete(name);
  }
  for (const device of news.devices) {
    const before = fleet.devices.get(device.info.device);
    fleet.devices.set(device.info.device, device);
    showDevice(device);
    if (device.info.device === fleet.chosen) {
      showLedger(device);
      const grown = before && before.info.streams.join() !== device.info.streams.join();
      if (grown || (!before && view.device !== fleet.chosen)) loadDevice(fleet.chosen);
    }
  }
  const none = fleet.devices.size === 0;
  $("empty").hidden = !none;
  $("fleet").hidden = $("summary").hidden = none;
  if (none) $("detail").hidden = true;
  showSummary();
  filterFleet();
  if (!none && !fleet.chosen) followAddress();
  events.news(news.devices);
}

function fleetLine(state, heardAt) {
  document.body.dataset.link = state;
  $("link").dataset.state = state;
  setText($("link"), state === "live" ? "live" : `stale since ${clockTime(heardAt + clock.offset)} UTC · reconnecting`);
}

// ---- the ledger of the chosen device -----------------------------------------------------------------------------

function sentence(lane) {
  if (verdictOf(lane) === "unused") return "Nothing has been sent on this lane yet.";
  const parts = [];
  if (lane.rows_missing) parts.push(`${rows(lane.rows_missing)} will not come.`);
  if (lane.rows_orphaned) parts.push(`${rows(lane.rows_orphaned)} belong to a tail that was cut off: the device was restored or cloned.`);
  if (lane.rows_pending) parts.push(`${rows(lane.rows_pending)} ${lane.rows_pending === 1 ? "is" : "are"} known of and on ${lane.rows_pending === 1 ? "its" : "their"} way.`);
  if (lane.verdict === "complete") parts.push(`Every one of the ${rows(lane.rows_head)} the device has spoken of is accounted for.`);
  return parts.join(" ");
}

function laneAccount(lane) {
  const box = element("section", { class: "account", "data-lane": lane.lane },
    element("div", { class: "head" }, element("h3", {}, `Lane ${lane.lane}`), verdictChip(lane)), element("p", {}, sentence(lane)));
  if (verdictOf(lane) === "unused") return box;
  const share = element("div", { class: "share" });
  share.setAttribute("aria-hidden", "true");
  const facts = element("dl");
  const fact = (name, value, look) => facts.append(element("div", { class: look ?? "" }, element("dt", {}, name), element("dd", {}, value)));
  for (const part of ["stored", "thinned", "quarantined", "pending", "missing", "orphaned"]) {
    const n = lane[`rows_${part}`];
    if (n && part !== "orphaned") {
      const piece = element("i", { class: part });
      piece.style.flexGrow = String(n / Math.max(1, lane.rows_head));
      share.append(piece);
    }
    if (n || ["stored", "pending", "missing"].includes(part)) fact(part[0].toUpperCase() + part.slice(1), count(n), n ? { missing: "bad", orphaned: "odd" }[part] : "");
    if (part === "missing") {
      for (const [why, m] of Object.entries(lane.missing_by_reason)) fact(REASONS[why] ? `${reasonName(why)}: ${REASONS[why]}` : reasonName(why), count(m), "deep bad");
    }
  }
  fact("Spoken of by the device", count(lane.rows_head));
  for (const [why, n] of Object.entries(lane.lost_before_spool)) {
    if (n && why === "insignificant") fact("Left out by the device, within its error bounds", count(n));
    else if (n) fact(`Lost before the spool: ${reasonName(why)}`, count(n), "bad");
  }
  for (const [what, n] of Object.entries(lane.alarms)) if (n) fact(`Alarm: ${reasonName(what)}`, count(n), "bad");
  box.append(share, facts);
  const each = lane.values ? `, ${(lane.bytes / lane.values).toFixed(2)} B a value` : "";
  box.append(element("p", { class: "note" }, `${count(lane.frames)} frames in ${count(lane.epochs)} ${lane.epochs === 1 ? "epoch" : "epochs"}, ${count(lane.values)} values, ${size(lane.bytes)}${each}. As of ${lane.as_of_ns ? `${stamp(Math.round(lane.as_of_ns / 1e9) * 1000)} UTC` : "never"}.`));
  return box;
}

function showLedger(device) {
  showState($("device-state"), device.info);
  $("lanes").replaceChildren(...device.lanes.map(laneAccount));
}

// ---- a series: steps of one channel ------------------------------------------------------------------------------

// Steps from the store and steps summed up from what is pushed are kept apart and never added: a reading may be in
// both. Of two steps of one time the one with more readings is shown.
class Series {
  constructor(stepMs) {
    this.stepMs = stepMs;
    this.stored = new Map();
    this.pushed = new Map();
  }

  store(times, columns) {
    times.forEach((time, i) => this.stored.set(time, {
      time, count: columns.count[i], mean: columns.mean[i], min: columns.min[i], max: columns.max[i], u: columns.u[i], flag: columns.flag[i], seen: columns.count[i],
    }));
  }

  push(times, columns) {
    times.forEach((time, i) => {
      const start = Math.floor(time / this.stepMs) * this.stepMs;
      const part = { time: start, count: columns.count[i], mean: columns.mean[i], min: columns.min[i], max: columns.max[i], u: columns.u[i], flag: columns.flag[i] };
      const step = this.pushed.get(start);
      this.pushed.set(start, step ? Series.merge(step, part) : part);
    });
  }

  static merge(a, b) {
    const flag = SEVERITY[a.flag] >= SEVERITY[b.flag] ? a.flag : b.flag;
    if (!a.count || !b.count) return { ...(a.count ? a : b), time: a.time, flag };
    const n = a.count + b.count;
    const u = a.u === null ? b.u : b.u === null ? a.u : Math.sqrt((a.count * a.u ** 2 + b.count * b.u ** 2) / n);
    return { time: a.time, count: n, mean: a.mean + ((b.mean - a.mean) * b.count) / n, min: Math.min(a.min, b.min), max: Math.max(a.max, b.max), u, flag };
  }

  forget(before) {
    for (const steps of [this.stored, this.pushed]) for (const time of steps.keys()) if (time + this.stepMs < before) steps.delete(time);
  }

  get size() { return this.stored.size + this.pushed.size; }

  steps() {
    const merged = new Map(this.stored);
    for (const [time, step] of this.pushed) {
      const stored = merged.get(time);
      if (!stored || step.count >= stored.count) merged.set(time, step);
    }
    return [...merged.values()].sort((a, b) => a.time - b.time);
  }
}

// ---- the chart ---------------------------------------------------------------------------------------------------

const chart = { library: null, drawn: false, due: null, lastDraw: 0 };

// The bundle adds a style for maps unless an element of this id is there; we draw none, and our policy refuses it.
const MAP_STYLE = "9f215cf04c5486422605d13261cb87401f4e7763b6296af81e98efbc0130da53";

function loadLibrary() {
  chart.library ??= new Promise((resolve, reject) => {
    document.head.append(element("meta", { id: MAP_STYLE }));
    const script = element("script", { src: "/assets/plotly.js", async: true });
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("the chart library did not load"));
    document.head.append(script);
  });
  return chart.library;
}

// Runs of steps without a hole: longer than the usual distance between two steps is a hole, and nothing is drawn over it.
function runsOf(steps, stepMs) {
  const gaps = steps.slice(1).map((step, i) => step.time - steps[i].time).sort((a, b) => a - b);
  const usual = gaps.length ? gaps[gaps.length >> 1] : stepMs;
  const limit = Math.max(1.5 * stepMs, 3 * usual);
  const runs = [];
  let last = null;
  for (const step of steps) {
    if (step.mean === null) { last = null; continue; }
    if (last === null || step.time - last > limit) runs.push([]);
    runs.at(-1).push(step);
    last = step.time;
  }
  return runs;
}

// Closed outlines, one a run, as Plotly's `toself` fills them.
function outline(runs, low, high) {
  const x = [], y = [];
  for (const run of runs) {
    if (x.length) { x.push(null); y.push(null); }
    for (const step of run) { x.push(step.time); y.push(high(step)); }
    for (const step of run.toReversed()) { x.push(step.time); y.push(low(step)); }
  }
  return { x, y };
}

function palette() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["ink", "quiet", "rule", "accent", "band", "range", "mark", "bad", "panel", "sensor", "process", "unknown"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

function traces(steps, stepMs, colour, unit) {
  const runs = runsOf(steps, stepMs);
  const known = runsOf(steps.map((step) => (step.u === null ? { ...step, mean: null } : step)), stepMs);
  const shape = (points, fillcolor) => ({ ...points, type: "scatter", mode: "lines", fill: "toself", fillcolor, line: { width: 0 }, hoverinfo: "skip" });
  const line = { x: [], y: [], text: [] };
  for (const run of runs) {
    if (line.x.length) { line.x.push(null); line.y.push(null); line.text.push(""); }
    for (const step of run) {
      line.x.push(step.time);
      line.y.push(step.mean);
      const [value, half] = measured(step.mean, step.u, 0);
      line.text.push(`${value} ${half} ${unit}<br>${short(step.min)} to ${short(step.max)}<br>${count(step.count)} readings · ${FLAGS[step.flag] ?? ""}`);
    }
  }
  const marks = (chosen, color, symbol) => ({
    x: chosen.map((step) => step.time), y: chosen.map((step) => step.mean), type: "scatter", mode: "markers", hoverinfo: "skip", marker: { color, symbol, size: 7 },
  });
  const gone = steps.filter((step) => step.mean === null && step.flag >= 4);
  return [
    shape(outline(runs, (step) => step.min, (step) => step.max), colour.range),
    shape(outline(known, (step) => step.mean - K95 * step.u, (step) => step.mean + K95 * step.u), colour.band),
    { ...line, type: "scatter", mode: line.x.length < 150 ? "lines+markers" : "lines", line: { color: colour.accent, width: 1.6 }, marker: { size: 3, color: colour.accent }, hovertemplate: "%{text}<extra></extra>" },
    marks(steps.filter((step) => step.mean !== null && step.flag === 3), colour.mark, "circle"),
    marks(steps.filter((step) => step.mean !== null && step.flag >= 4), colour.bad, "diamond"),
    { x: gone.map((step) => step.time), y: gone.map(() => 0.02), yaxis: "y2", type: "scatter", mode: "markers", hoverinfo: "x+text", text: gone.map((step) => FLAGS[step.flag]),
      marker: { color: colour.bad, symbol: "line-ns", size: 8, line: { color: colour.bad, width: 2 } } },
  ];
}

function layout(range, colour, unit, { shapes, annotations }) {
  const axis = { gridcolor: colour.rule, linecolor: colour.rule, zeroline: false, tickfont: { color: colour.quiet, size: 11 }, fixedrange: false };
  return {
    margin: { l: 8, r: 8, t: 8, b: 8 }, showlegend: false, hovermode: "x", dragmode: "zoom", uirevision: view.key,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "system-ui, sans-serif", color: colour.ink, size: 12 },
    hoverlabel: { bgcolor: colour.panel, bordercolor: colour.rule, font: { color: colour.ink } },
    xaxis: { ...axis, type: "date", range, automargin: true, title: { text: "event time, UTC", font: { color: colour.quiet, size: 11 } } },
    yaxis: { ...axis, automargin: true, title: { text: unit, font: { color: colour.quiet, size: 11 } } },
    yaxis2: { overlaying: "y", range: [0, 1], visible: false, fixedrange: true },
    shapes, annotations,
  };
}

function drawSoon() {
  if (chart.due) return;
  chart.due = setTimeout(() => requestAnimationFrame(() => { chart.due = null; draw(); }), Math.max(0, 400 - (Date.now() - chart.lastDraw)));
}

async function draw() {
  if (!view.series) return;
  const library = await loadLibrary().catch((error) => { setText($("chart-note"), `${error.message}: reload the page`); });
  const series = view.series;
  if (!library || !series) return;
  chart.lastDraw = Date.now();
  const steps = series.steps();
  const end = steps.length ? steps.at(-1).time + series.stepMs : clock.now();
  const start = beginning(end);
  series.forget(start);
  const colour = palette();
  const shown = steps.filter((step) => step.time + series.stepMs >= start);
  if (!chart.drawn) $("chart").replaceChildren(element("div"));
  chart.drawn = true;
  const target = $("chart").firstElementChild;
  const marks = events.marks(view.device, view.stream, view.channel, [start, end], colour, target.clientWidth);
  await library.react(target, traces(shown, series.stepMs, colour, view.unit), layout([start, end], colour, view.unit, marks), { displayModeBar: false, responsive: true, doubleClick: "reset" });
  target.dataset.steps = String(shown.length);
  target.dataset.events = String(marks.here.length);
  describe(shown, marks.here);
  if (shown.length > 1.4 * STEPS) loadHistory(); // the view has outgrown its steps
}

// A window that reaches back before the first reading begins there, and grows until it is full.
const beginning = (end) => Math.min(end - SPAN_MIN_MS, Math.max(view.windowMs ? end - view.windowMs : -Infinity, view.firstMs ?? end));

function describe(steps, marked) {
  const known = steps.some((step) => step.u !== null);
  setText($("legend-band").lastChild, known || !steps.length ? "95 % of readings (mean ± 1.96 u)" : "uncertainty unknown: no band");
  const flagged = sum(steps.map((step) => (step.flag > 2 ? 1 : 0)));
  const behind = steps.length ? (clock.now() - steps.at(-1).time) / 1000 : 0;
  const lag = behind > 120 ? ` Its event time is ${span(behind)} behind the cloud's clock.` : behind < -120 ? ` Its event time is ${span(-behind)} ahead of the cloud's clock.` : "";
  setText($("chart-facts"), `${count(steps.length)} steps of ${view.series.stepMs < 1000 ? `${view.series.stepMs} ms` : span(view.series.stepMs / 1000)}, ${flagged ? `${count(flagged)} flagged` : "none flagged"}${marked.length ? `, ${count(marked.length)} ${marked.length === 1 ? "event" : "events"} marked` : ""}.${lag}`);
  $("chart").setAttribute("aria-label", `Chart of ${view.channel} in ${view.unit}: ${steps.length} steps, ${flagged} flagged, ${marked.length} events. The table below has the numbers.`);
  if ($("table-box").open) fillTable(steps);
}

function fillTable(steps) {
  const cell = (value) => element("td", {}, value === null ? "–" : String(value));
  $("table").tBodies[0].replaceChildren(...steps.slice(-20).toReversed().map((step) => element("tr", {},
    element("td", {}, stamp(step.time)), cell(short(step.mean)), cell(step.u), cell(short(step.min)), cell(short(step.max)), cell(step.count), cell(FLAGS[step.flag] ?? step.flag))));
}

// ---- the chosen stream -------------------------------------------------------------------------------------------

const view = {
  device: null, streams: [], stream: null, channel: null, unit: "", resolution: 0, windowMs: 900000, key: "",
  firstMs: null, series: null, line: null, lineState: "connecting", heardAt: null, dropped: 0, staleAfter: 30, latest: null,
};

async function ask(path, parameters) {
  const address = parameters ? `${path}?${new URLSearchParams(parameters)}` : path;
  const answer = await fetch(address, { headers: { Accept: "application/json" } });
  if (answer.status === 401) location.assign("/login");
  const body = await answer.json();
  if (!answer.ok) throw new Error(`${body.error}: ${body.hint}`);
  return body;
}

function options(select, names, chosen) {
  select.replaceChildren(...names.map((name) => element("option", { value: name, selected: name === chosen }, name)));
}

async function loadDevice(name) {
  view.device = name;
  let found;
  try {
    found = await ask(`/api/v1/devices/${encodeURIComponent(name)}/streams`);
  } catch (error) {
    return setText($("chart-facts"), error.message);
  }
  if (view.device !== name) return undefined;
  found.streams = found.streams.filter((stream) => !stream.is_events); // they are listed as what they tell
  view.streams = found.streams;
  const [, stream, channel] = addressParts();
  const chosen = found.streams.find((s) => s.stream === stream) ?? found.streams[0];
  options($("stream"), found.streams.map((s) => s.stream), chosen?.stream);
  $("stream-panel").dataset.streamless = String(!chosen);
  if (!chosen) return closeStream("This device has not sent a stream yet.");
  options($("channel"), chosen.channels.map((c) => c.name), channel);
  return openStream(chosen, chosen.channels.find((c) => c.name === channel) ?? chosen.channels[0]);
}

function closeStream(note) {
  view.line?.close();
  Object.assign(view, { line: null, series: null, stream: null, channel: null, latest: null, heardAt: null, firstMs: null, lineState: "connecting", dropped: 0 });
  if (window.Plotly && chart.drawn) window.Plotly.purge($("chart").firstElementChild);
  chart.drawn = false;
  $("chart").replaceChildren(element("p", { class: "quiet", id: "chart-note" }, note));
  setText($("chart-facts"), "");
  showLatest();
}

async function openStream(stream, channel) {
  closeStream("Loading the chart…");
  const key = [view.device, stream.stream, channel.name, view.windowMs].join("/");
  Object.assign(view, { stream: stream.stream, channel: channel.name, unit: UNITS[channel.unit] ?? channel.unit, resolution: channel.resolution, key });
  view.waiting = [];
  // The line first, the past second: nothing falls between them.
  const asked = new URLSearchParams({ device: view.device, stream: view.stream, channel: view.channel });
  view.line = new Line(`/api/v1/live?${asked}`, { hello: (data) => { view.staleAfter = data.stale_after_s; }, readings: (data) => pushed(key, data) }, (state) => streamLine(key, state));
  await loadHistory();
}

async function loadHistory() {
  const key = view.key;
  try {
    const { streams } = await ask(`/api/v1/devices/${encodeURIComponent(view.device)}/streams`);
    const reach = streams.find((s) => s.stream === view.stream);
    const end = Math.floor((reach?.last_ns ?? clock.now() * 1e6) / 1e6) + 1;
    view.firstMs = reach?.first_ns ? Math.floor(reach.first_ns / 1e6) : end;
    const start = beginning(end);
    const past = await ask("/api/v1/readings", {
      device: view.device, stream: view.stream, channel: view.channel, from: new Date(start).toISOString(), to: new Date(end).toISOString(), points: STEPS,
    });
    if (key !== view.key) return;
    const series = new Series(past.step_ns / 1e6);
    series.store(past.time_ns.map((time) => time / 1e6), past.series[0]);
    for (const data of view.waiting ?? []) series.push(data.time_ns.map((time) => time / 1e6), data.series[0]);
    view.waiting = null;
    view.series = series;
    const last = series.steps().at(-1);
    if (last && !view.latest) view.latest = { ...last, step: true };
    showLatest();
    drawSoon();
  } catch (error) {
    if (key === view.key) setText($("chart-note") ?? $("chart-facts"), error.message);
  }
}

function pushed(key, data) {
  if (key !== view.key || !data.series.length) return;
  const times = data.time_ns.map((time) => time / 1e6);
  const columns = data.series[0];
  if (view.series) view.series.push(times, columns);
  else view.waiting?.push(data);
  view.heardAt = Date.now();
  view.dropped = data.dropped;
  const i = times.length - 1;
  // What comes late (a backlog) never stands in for what is newer.
  if (!view.latest || times[i] >= view.latest.time) {
    view.latest = { time: times[i], mean: columns.mean[i], u: columns.u[i], flag: columns.flag[i] };
  }
  showLatest();
  drawSoon();
}

function streamLine(key, state) {
  if (key !== view.key) return;
  const mended = view.lineState === "stale" && state === "live";
  view.lineState = state;
  view.brokenAt = state === "stale" ? clock.now() : null;
  if (mended) loadHistory(); // what came meanwhile is in the store
  showLatest();
}

// "live" only while the line works and the stream speaks; anything else says since when it does not.
function flowOf() {
  if (view.lineState === "stale") return ["stale", `stale since ${clockTime(view.heardAt ? view.heardAt + clock.offset : view.brokenAt)} UTC · no connection`];
  if (view.heardAt === null) return ["waiting", view.latest ? "not live: last stored step" : "waiting for a reading"];
  if ((Date.now() - view.heardAt) / 1000 > view.staleAfter) return ["stale", `stale since ${clockTime(view.heardAt + clock.offset)} UTC`];
  return ["live", "live"];
}

function showLatest() {
  const [state, words] = flowOf();
  $("readout").dataset.state = $("flow").dataset.state = $("chart").dataset.state = state;
  setText($("flow"), words);
  const latest = view.latest;
  const [value, half] = measured(latest?.mean, latest?.u, view.resolution);
  // A reading that failed or is missing has no value, and an older one does not stand in for it.
  const word = latest && latest.mean === null ? { 4: "failed", 9: "missing" }[latest.flag] : undefined;
  setText($("latest"), word ?? value);
  $("latest").dataset.bad = String(word !== undefined);
  setText($("latest-u"), latest && latest.mean !== null ? half : "");
  setText($("unit"), latest && latest.mean !== null ? view.unit : "");
  const dropped = view.dropped ? ` · ${count(view.dropped)} rows not shown: this page was too slow` : "";
  setText($("latest-flag"), latest && !word ? (FLAGS[latest.flag] ?? "") : "");
  $("latest-flag").dataset.flag = latest?.flag ?? "";
  setText($("latest-time"), latest ? `${latest.step ? "step of" : "at"} ${stamp(Math.round(latest.time))} UTC${half && latest.mean !== null ? " · 95 %" : ""}${dropped}` : "");
}

// ---- which device: the address says ------------------------------------------------------------------------------

const addressParts = () => location.hash.slice(1).split("/").map(decodeURIComponent);

function followAddress() {
  const [wanted] = addressParts();
  const name = fleet.devices.has(wanted) ? wanted : [...fleet.devices.keys()].sort()[0];
  if (!name) return;
  const moved = fleet.chosen !== null && fleet.chosen !== name;
  fleet.chosen = name;
  for (const [other, node] of fleet.nodes) {
    node.dataset.chosen = String(other === name);
    const link = node.querySelector("a");
    if (other === name) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  $("detail").hidden = false;
  events.choose(name);
  setText($("device-title"), name);
  document.title = `${name} · Trueline`;
  showLedger(fleet.devices.get(name));
  if (moved && matchMedia("(max-width: 62rem)").matches) $("detail").scrollIntoView();
  if (moved) $("detail").focus({ preventScroll: true });
  if (view.device !== name || moved) loadDevice(name);
}

function choose(stream, channel) {
  const parts = [fleet.chosen, stream, channel].filter((part) => part !== undefined && part !== null);
  history.replaceState(null, "", `#${parts.map(encodeURIComponent).join("/")}`);
  loadDevice(fleet.chosen);
}

// An event's channel, of whichever device.
function showEvent(event) {
  if (event.device === fleet.chosen) choose(event.stream, event.channel || undefined);
  else location.hash = `#${[event.device, event.stream, event.channel].map(encodeURIComponent).join("/")}`;
  $("stream-panel").scrollIntoView({ block: "start" });
}

$("stream").addEventListener("change", () => choose($("stream").value));
$("channel").addEventListener("change", () => choose($("stream").value, $("channel").value));
$("window").addEventListener("change", () => { view.windowMs = 1000 * Number($("window").value); loadDevice(fleet.chosen); });
$("find").addEventListener("input", filterFleet);
$("attention").addEventListener("change", filterFleet);
$("table-box").addEventListener("toggle", () => { if (view.series) fillTable(view.series.steps()); });
window.addEventListener("hashchange", followAddress);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawSoon);

// A page nobody looks at keeps no line open (a browser allows six to one place), and begins afresh when it is seen again.
let unseen = null;
document.addEventListener("visibilitychange", () => {
  clearTimeout(unseen);
  if (document.hidden) {
    unseen = setTimeout(() => {
      fleet.line.close();
      fleet.line = null;
      closeStream("This page was out of sight.");
    }, 60000);
  } else if (!fleet.line) {
    openFleet();
    if (fleet.chosen) loadDevice(fleet.chosen);
  }
});

function openFleet() {
  fleet.line = new Line("/api/v1/live/fleet", { hello: (data) => { fleet.silentAfter = data.silent_after_s; }, fleet: fleetNews }, fleetLine);
}

// Ages grow by themselves: that is how silence becomes visible.
setInterval(() => {
  for (const [name, device] of fleet.devices) showState(fleet.nodes.get(name).querySelector(".state"), device.info);
  const chosen = fleet.devices.get(fleet.chosen);
  if (chosen) showState($("device-state"), chosen.info);
  if (fleet.devices.size) showSummary();
  events.draw();
  showLatest();
}, 1000);

openFleet();
