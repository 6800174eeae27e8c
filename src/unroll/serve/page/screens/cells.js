// Cells: a text coloured by a unit, the unit over the text, all units at once, and a cell's own sums.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { Chart } from "../frame/chart.js";
import { css, entry, ink, table } from "../frame/colour.js";
import { bits, fixed, percent, plural, symbolText } from "../frame/format.js";
import { cursorKeys, useKeys } from "../frame/keys.js";
import { announce } from "../frame/live.js";
import { Choice, Failure, Panel, Table, Waiting, useRequest } from "../frame/parts.js";
import { Passage } from "../frame/passage.js";
import { probe } from "../frame/probe.js";
import { aurocs, correlations, threshold, value } from "../inside/figures.js";
import { Gates } from "../inside/gates.js";
import { Heat, Legend } from "../inside/heat.js";
import { TextChoice, frameOf, placeholder, useTrace } from "../inside/trace.js";
import { Sums } from "../inside/sums.js";
import { recordTiming } from "../inside/timing.js";

const SORTS = [["index", "by number"], ["variance", "by variance"], ["like", "by similarity to this unit"], ["range", "by the range"],
  ["labels", "by the property"]];
const HEAT = 300;
const NO_ROWS = { rows: {}, before: {} };

export default function Cells({ view, go, api }) {
  const trace = useTrace(view, go, api);
  const waiting = placeholder(trace, html`<${Waiting}>Reading a text with the model…<//>`);
  return html`<div class="grid cells">
    <div class="panel bar"><${TextChoice} trace=${trace.data} text=${trace.text} setText=${trace.setText} view=${view} go=${go} /></div>
    ${waiting ?? html`<${UnitViews} key=${trace.data.id + trace.data.version} trace=${trace.data} view=${view} go=${go} api=${api} />`}
  </div>`;
}

// The signal shown: the chosen one if the network has it, else its cell, or its output.
export function signalOf(view, trace) {
  return trace.signals.includes(view.signal) ? view.signal : trace.signals.includes("c") ? "c" : "h";
}

// Rows of a unit's frame by name: {rows: {c: Float32Array, ...}, before: {c: number, ...}}.
function rowsOf(frame) {
  const { data, shape } = frame.arrays.values;
  const rows = Object.fromEntries(frame.signals.map((name, k) => [name, data.subarray(k * shape[1], (k + 1) * shape[1])]));
  return { rows, before: frame.before, lasting: frame.time_constant, reach: frame.reach };
}

// How a value of a signal is coloured: symmetric about 0, or from 0 to 1; of c up to the unit's own reach, if given.
export function mapOf(trace, signal, reach) {
  const [low, high] = trace.unbounded.includes(signal) && reach ? [-reach, reach] : trace.domains[signal];
  const map = low === 0 ? "orange" : "diverging";
  return { map, low, high, colour: (v, theme) => table(map, theme)[entry(map, v / high)] };
}

function UnitViews({ trace, view, go, api }) {
  const { symbols, layers, units } = trace;
  const count = symbols.length;
  const signal = signalOf(view, trace);
  const layer = Math.min(view.layer, layers - 1);
  const unit = Math.min(view.unit, units - 1);
  const pos = view.pos >= 0 ? Math.min(view.pos, count - 1) : Math.min(count - 1, 20);
  const range = rangeOf(view.range, count);
  const [sort, setSort] = useState("variance");
  const [anchor, setAnchor] = useState(-1);
  const [marks, setMarks] = useState(false);
  const [ownScale, setOwnScale] = useState(true);
  const unbounded = trace.unbounded.includes(signal);
  const usesOwnScale = unbounded && ownScale;

  const of = `${trace.id} ${trace.version}`;
  const unitFrame = useRequest(`${of} ${layer} ${unit}`,
    (stop) => frameOf(api, "unit", trace, { layer, unit }, { signal: stop }).then((frame) => ({ ...rowsOf(frame), unit, layer })));
  const heatFrame = useRequest(`${of} ${layer} ${signal} ${usesOwnScale}`, (stop) => frameOf(api, "heat", trace, { layer, signal, own: usesOwnScale ? 1 : 0 }, { signal: stop }));
  const gates = useRequest(trace.gates.length ? `${of} ${layer}` : null,
    (stop) => api(`inside/gates?${new URLSearchParams({ model: trace.model, id: trace.id, layer })}`, undefined, { signal: stop }));
  const rangeUnits = useRequest(range ? `${of} ${signal} ${range}` : null,
    (stop) => api("inside/range", { model: trace.model, id: trace.id, signal, first: range[0], last: range[1] }, { signal: stop }), 150);
  const labels = useRequest(view.prop ? `${of} ${view.prop}` : null,
    (stop) => api.frame("inside/labels", { model: trace.model, id: trace.id, property: view.prop }, { signal: stop }));

  const current = unitFrame.data ?? NO_ROWS;
  const values = current.rows[signal];
  const scheme = useMemo(() => mapOf(trace, signal, usesOwnScale ? current.reach : 0), [trace, signal, usesOwnScale, current.reach]);
  const paintKey = useMemo(() => ({ values, scheme, range: range?.join(), anchor, marks, labels: labels.data }),
    [values, scheme, range?.join(), anchor, marks, labels.data]);
  const agreement = useMemo(
    () => (labels.data && values ? threshold(values.subarray(0, labels.data.arrays.labels.data.length), labels.data.arrays.labels.data) : null),
    [labels.data, values]);
  const order = useMemo(() => sorted(sort, heatFrame.data, unit, range, labels.data, count),
    [sort, heatFrame.data, sort === "like" ? unit : 0, sort === "range" ? range?.join() : "", labels.data]);

  const pick = (changes) => go(changes);
  const step = (by) => {
    const place = order.indexOf(unit) + by;
    if (order[place] === undefined) return;
    go({ unit: order[place] });
    announce(`unit ${order[place]}`);
  };
  const mark = () => {
    if (anchor < 0) {
      setAnchor(pos);
      announce("range starts here; move and press m again");
    } else {
      setRange(Math.min(anchor, pos), Math.max(anchor, pos));
    }
  };
  const setRange = (first, last) => {
    setAnchor(-1);
    if (last - first + 1 >= count) return;
    setSort("range");
    go({ range: `${first}-${last}` });
  };
  const letters = trace.signals.filter((name) => !"np".includes(name));
  useKeys(
    {
      ...cursorKeys({ ...view, pos, unit, layer }, go, { length: count, layers, units, signals: letters }),
      ...Object.fromEntries(Object.entries(trace.absent).map(([name, reason]) => [name, () => announce(reason)])),
      n: () => step(1), p: () => step(-1), m: mark,
      Escape: () => (anchor >= 0 || range ? (setAnchor(-1), go({ range: "" })) : false),
    },
    { "← →": "move through the text", "[ ]": "previous, next unit", "{ }": "layer below, above", "n p": "next, previous unit in this order",
      [letters.join(" ")]: "choose a signal", m: "mark a range: press at its start and at its end" },
  );

  const say = (k) => `${symbolText(symbols[k])} ${signal} ${values ? value(values[k]) : ""}`;
  const state = current.rows.h && unitFrame.data.unit === unit && unitFrame.data.layer === layer
    ? { now: at(current.rows, pos), before: pos > 0 ? at(current.rows, pos - 1) : current.before } : null;
  const [nearOnly, setNearOnly] = useState(true);
  const [from, to] = nearOnly ? around(pos, count) : [0, count];
  const x = useMemo(() => Array.from({ length: to - from }, (_, k) => from + k), [from, to]);
  const lines = useMemo(() => linesOf(current.rows, from, to), [current.rows, from, to]);
  const bands = useMemo(() => bandsOf(trace, current.rows, from, to), [current.rows, from, to]);
  const cellText = `unit ${layers > 1 ? `${layer}:` : ""}${unit}`;

  useEffect(() => {
    if (values) probe("cells",
      { layer, unit, signal, pos, values: Array.from(values), domain: [scheme.low, scheme.high], now: state?.now, before: state?.before, order, range,
      agreement: agreement?.score ?? null });
  });

  return html`
    <div class="panel bar row">
      <${Signals} trace=${trace} signal=${signal} onChange=${(name) => pick({ signal: name })} />
      <${Steps} label="Layer" value=${layer} most=${layers - 1} onChange=${(next) => pick({ layer: next })} />
      <${Steps} label="Unit" value=${unit} most=${units - 1} onChange=${(next) => pick({ unit: next })} />
      <span class="pair"><button type="button" class="small" onClick=${() => step(-1)} title="Previous unit in this order (p)">Previous</button>
        <button type="button" class="small" onClick=${() => step(1)} title="Next unit in this order (n)">Next in order</button></span>
      <span class="grow"></span>
      ${unbounded && html`<${Choice} label=${`Scale of ${signal}`} value=${ownScale}
        options=${[[true, "each unit’s own scale"], [false, "one scale for all"]]} onChange=${setOwnScale} />`}
      <label class="switch"><input type="checkbox" checked=${marks} onChange=${() => setMarks(!marks)} />show signs</label>
      <${Legend} map=${scheme.map} low=${scheme.low === 0 ? "0 closed" : value(scheme.low, 1)} high=${scheme.low === 0 ? "1 open" : value(scheme.high, 1)} />
    </div>

    <div class="w8 pile">
    <${Panel} title=${html`Text, coloured by ${signal} of ${cellText}`} label=${`Text coloured by ${signal} of ${cellText}`}
      aside=${range ? html`range ${range[0]}–${range[1]} <button type="button" class="small" onClick=${() => go({ range: "" })}>Clear</button>`
        : "drag over the text to find units that are active there"}>
      ${unitFrame.error && html`<${Failure} error=${unitFrame.error} />`}
      <${RangeText} symbols=${symbols} paintKey=${paintKey} pos=${pos} range=${range} anchor=${anchor} onRange=${setRange}
        paint=${(element, k, theme) => paintSymbol(element, k, theme, paintKey, agreement, range, anchor)}
        onPick=${(k) => pick({ pos: k })} say=${say} label=${`${plural(count, "symbol")}, coloured by ${trace.words[signal]} ${signal} of ${cellText}`} tall />
      ${labels.data && agreement && html`
        <p class="note">Underlined: ${labels.data.what}. ${signal} of this unit separates them with balanced accuracy <b>
        ${fixed(agreement.score, 3)}</b> on this text; red marks errors.
        <button type="button" class="quiet" onClick=${() => go({ prop: "" })}>Hide the labels</button></p>`}
      ${labels.error && html`<${Failure} error=${labels.error} />`}
    <//>
    ${range && html`<${Panel} title="Units active in this range"
      aside=${rangeUnits.busy ? "loading…" : `symbols ${range[0]} to ${range[1]}, all layers, by ${signal}`}>
      ${rangeUnits.error && html`<${Failure} error=${rangeUnits.error} />`}
      ${rangeUnits.data && html`<${RangeUnits} data=${rangeUnits.data} unit=${unit} layer=${layer} go=${go} />`}
    <//>`}
    <${Panel} title=${html`${cellText[0].toUpperCase() + cellText.slice(1)} over the text`} label="The unit over the text"
      aside=${count > 1.5 * AROUND && html`
        <${Choice} label="How much of the text" value=${nearOnly} options=${[[true, "around the cursor"], [false, "the whole text"]]} onChange=${setNearOnly} />`}>
      ${values && html`<${Chart} x=${x} series=${lines} height=${190} xLabel="symbol" yLabel=${trace.signals.includes("c") ? "c, h" : "h"} marks=${[pos]}
        xText=${(k) => `${k} ${symbolText(symbols[k])}`} onPick=${(k) => pick({ pos: x[k] })}
        summary=${`${cellText} over ${plural(to - from, "symbol")}: ${lines.map(
          ({ label, values: of }) => `${label} from ${value(least(of))} to ${value(most(of))}`).join("; ")}`} />`}
      ${bands.length > 0 && html`<${Chart} x=${x} series=${bands} height=${130} xLabel="symbol" yLabel="gates" yRange=${[0, 1]} marks=${[pos]}
        xText=${(k) => `${k} ${symbolText(symbols[k])}`} onPick=${(k) => pick({ pos: x[k] })}
        summary=${`gates of ${cellText}: ${bands.map(
          ({ label, values: of }) => `${label} on average ${fixed(of.reduce((a, b) => a + b, 0) / of.length)}`).join("; ")}`} />`}
    <//>
    </div>
    <div class="w4 pile">
    <${Panel} title="At the cursor" aside=${html`symbol ${pos}, ${fixed(bits(trace.nats[pos]))} bits`}>
      ${state ? html`<${Sums} arch=${trace.arch} now=${state.now} before=${state.before}
        reach=${(ownScale ? current.reach : trace.domains[trace.unbounded.at(-1)]?.[1]) ?? 1} symbol=${symbols[pos]} />` : html`<${Waiting}>…<//>`}
      ${state && html`<p class="note">
        ${current.lasting ? html`The memory of this unit decays to 1/e in ${Number(
        current.lasting.toPrecision(3))} symbols on average (−1 / mean ln f).` : ""}</p>`}
    <//>
    ${trace.gates.length > 0 && html`<${Panel} title="How often gates are open" aside=${`layer ${layer}`}>
      ${gates.error && html`<${Failure} error=${gates.error} />`}
      ${gates.data && html`<${Gates} use=${gates.data} unit=${unit} onPick=${(next) => pick({ unit: next })} />`}
    <//>`}
    </div>

    <${Panel} title=${html`All ${units} units of layer ${layer}: ${signal}`} label="All units"
      aside=${html`<label>rows <select value=${sort} onChange=${(event) => setSort(event.target.value)}>
        ${SORTS.map(([name, text]) => html`
          <option key=${name} value=${name} disabled=${(name === "range" && !range) || (name === "labels" && !labels.data)} selected=${name === sort}>
          ${text}</option>`)}</select></label>`}>
      ${heatFrame.error && html`<${Failure} error=${heatFrame.error} />`}
      ${heatFrame.data && html`<${Heat} levels=${heatFrame.data.arrays.levels.data} count=${count} order=${order} map=${scheme.map} pos=${pos}
        row=${order.indexOf(unit)} range=${range} height=${HEAT}
        onPick=${(k, row) => { pick({ pos: k, unit: order[row] }); announce(`unit ${order[row]}, ${symbolText(symbols[k])}`); }} onDrag=${setRange}
        summary=${`Heat map of ${signal}: ${units} units by ${count} symbols; unit ${unit} at symbol ${pos} ${values ? value(values[pos])
          : ""}. Arrow keys move through it.`} />`}
      <div class="row tight">
        ${usesOwnScale ? html`<${Legend} map="diverging" low="−" high="+" />`
        : html`<${Legend} map=${scheme.map} low=${scheme.low ? value(scheme.low, 0) : "0"} high=${value(scheme.high, 0)} />`}
        <span class="note">${heatFrame.data && unbounded
          ? (heatFrame.data.outside ? `${percent(heatFrame.data.outside / (units * count))} % of the values are beyond the ends of ${usesOwnScale
          ? `their unit’s scale, which covers 99.5 % of its |${signal}|` : `the scale, which covers 99.5 % of |${signal}|`}.`
            : "No value is beyond the ends of the scale.") : ""} Click to choose a unit and a symbol; drag to choose a range.</span></div>
    <//>`;
}

const at = (rows, k) => Object.fromEntries(Object.entries(rows).map(([name, values]) => [name, values[k]]));
// The range around the cursor; it stays while the cursor moves within it.
const AROUND = 200;
function around(pos, count) {
  if (count <= 1.5 * AROUND) return [0, count];
  const from = Math.min(count - AROUND, Math.floor(pos / (AROUND / 2)) * (AROUND / 2) - (pos % (AROUND / 2) < AROUND / 4 ? AROUND / 2 : 0));
  return [Math.max(0, from), Math.max(0, from) + AROUND];
}

const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);

export function rangeOf(text, count) {
  const match = /^(\d{1,6})-(\d{1,6})$/.exec(text ?? "");
  if (!match) return null;
  const [first, last] = [Number(match[1]), Number(match[2])];
  return first <= last && last < count && last - first + 1 < count ? [first, last] : null;
}

function linesOf(rows, from, to) {
  const lines = [];
  if (rows.c) lines.push({ label: "c", values: Array.from(rows.c.subarray(from, to)), colour: "--orange", width: 1.8 });
  if (rows.h) lines.push({ label: "h", values: Array.from(rows.h.subarray(from, to)), colour: "--blue", width: rows.c ? 1 : 1.8 });
  return lines;
}
function bandsOf(trace, rows, from, to) {
  const colours = { i: "--orange", f: "--violet", o: "--blue", r: "--orange", z: "--violet" };
  return trace.gates.filter((name) => rows[name]).map(
    (name) => ({ label: `${name}, ${trace.words[name]}`, values: Array.from(rows[name].subarray(from, to)), colour: colours[name], width: 1.2 }));
}

function sorted(sort, heatFrame, unit, range, labels, count) {
  if (!heatFrame) return [];
  const { data, shape } = heatFrame.arrays.levels;
  const index = Array.from({ length: shape[0] }, (_, k) => k);
  const by = (score) => index.sort((a, b) => score[b] - score[a] || a - b);
  const bySeparation = (inside) => by(aurocs(data, shape[0], count, inside).map((score) => Math.abs(score - 0.5)));
  if (sort === "variance") return by(heatFrame.variance);
  if (sort === "like") return by(correlations(data, shape[0], count, unit));
  if (sort === "range" && range) return bySeparation(Uint8Array.from({ length: count }, (_, k) => (k >= range[0] && k <= range[1] ? 1 : 0)));
  if (sort === "labels" && labels) {
    const marks = labels.arrays.labels.data;
    return bySeparation(Uint8Array.from({ length: count }, (_, k) => (marks[k] > 0 ? 1 : 0)));
  }
  return index;
}

function paintSymbol(element, k, theme, { values, scheme, marks, labels }, agreement, range, anchor) {
  if (k === 0) recordTiming("recolour");
  if (values && k < values.length) {
    const v = values[k];
    const colour = scheme.colour(v, theme);
    element.style.backgroundColor = css(colour);
    element.style.color = ink(colour);
    element.dataset.sign = marks && Math.abs(v) > 0.5 * scheme.high ? (v > 0 ? "+" : "−") : "";
  }
  const on = labels ? labels.arrays.labels.data[k] > 0 : false;
  element.className = `${element.classList.contains("here") ? "here " : ""}${on ? "on " : ""}${agreement?.wrong[k] ? "wrong " : ""}${range
    && k >= range[0] && k <= range[1] ? "ranged " : ""}${k === anchor ? "anchor" : ""}`.trim();
}

// A passage over which a range can be dragged, or chosen with Shift and the arrow keys.
export function RangeText({ range, anchor, onRange, onPick, pos, symbols, tall, ...rest }) {
  const from = useRef(-1);
  const indexUnder = (event) => (event.target.dataset?.k === undefined ? -1 : Number(event.target.dataset.k));
  const up = (event) => {
    const to = indexUnder(event);
    if (from.current >= 0 && to >= 0 && to !== from.current) {
      onRange(Math.min(from.current, to), Math.max(from.current, to));
      getSelection()?.removeAllRanges();
    }
    from.current = -1;
  };
  const onKey = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!event.shiftKey || !step) return;
    event.preventDefault();
    event.stopPropagation();
    const fixed = range && (pos === range[0] || pos === range[1]) ? (pos === range[0] ? range[1] : range[0]) : pos;
    const next = Math.min(symbols.length - 1, Math.max(0, pos + step));
    onPick(next);
    if (next !== fixed) onRange(Math.min(fixed, next), Math.max(fixed, next));
  };
  return html`<div class=${`ranged-text ${tall ? "tall" : ""}`} onPointerDown=${(event) => (from.current = indexUnder(event))} onPointerUp=${up}
    onKeyDownCapture=${onKey}>
    <${Passage} symbols=${symbols} pos=${pos} onPick=${onPick} ...${rest} /></div>`;
}

function Signals({ trace, signal, onChange }) {
  const order = (name) => -"hc".indexOf(name); // c and h first
  const names = Object.keys(trace.words).sort((a, b) => order(a) - order(b));
  return html`<${Choice} label="Signal" value=${signal} options=${names.map((name) => [name, name, trace.absent[name]])} onChange=${onChange} />
    <span class="muted">${trace.words[signal]}${Object.keys(trace.absent).length ? html` · ${Object.values(trace.absent)[0]}` : ""}</span>`;
}

export function Steps({ label, value: now, most: last, onChange }) {
  const to = (next) => Number.isFinite(next) && onChange(Math.min(last, Math.max(0, Math.round(next))));
  return html`<span class="steps" role="group" aria-label=${label}><span class="muted">${label}</span>
    <button type="button" class="small" disabled=${now <= 0} aria-label=${`${label} ${now - 1}`} onClick=${() => to(now - 1)}>−</button>
    <input type="number" min="0" max=${last} value=${now} aria-label=${label} onChange=${(event) => to(Number(event.target.value))} />
    <button type="button" class="small" disabled=${now >= last} aria-label=${`${label} ${now + 1}`} onClick=${() => to(now + 1)}>+</button></span>`;
}

function RangeUnits({ data, unit, layer, go }) {
  return html`<${Table} caption="Units that separate the range from the rest of the text" page=${10} rows=${data.units} columns=${[
    ["unit", (row) => html`
      <button type="button" class=${`small ${row.unit === unit && row.layer === layer ? "main" : ""}`}
      onClick=${() => go({ layer: row.layer, unit: row.unit })}>${row.layer}:${row.unit}</button>`],
    ["in the range", (row) => (row.on ? "high" : "low")],
    ["AUROC within this text", (row) => fixed(row.on ? row.auroc : 1 - row.auroc, 3), "number"],
    ["", (row) => html`<i class="gauge" aria-hidden="true"><i class="fill" style=${{ width: `${200 * Math.abs(row.auroc - 0.5)}%` }}></i></i>`],
  ]} /><p class="note">Chosen and measured on the same symbols: a hint, not a finding. <a href="#/find"
    onClick=${(event) => { event.preventDefault(); go({ screen: "find" }); }}>Find</a> measures on held-out text.</p>`;
}
