// Cells: a text coloured by what a unit does, the unit over the text, all units at once, and a cell's own sums.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { Chart } from "../frame/chart.js";
import { css, entry, ink, table } from "../frame/colour.js";
import { bits, fixed, percent, plural, shown as named } from "../frame/format.js";
import { cursorKeys, useKeys } from "../frame/keys.js";
import { announce } from "../frame/live.js";
import { Choice, Failure, Panel, Table, Waiting, useAsked } from "../frame/parts.js";
import { Passage } from "../frame/passage.js";
import { probe } from "../frame/probe.js";
import { aurocs, correlations, threshold, value } from "../inside/figures.js";
import { Gates } from "../inside/gates.js";
import { Heat, Legend } from "../inside/heat.js";
import { TextChoice, frameOf, notYet, useOpened } from "../inside/opened.js";
import { Sums } from "../inside/sums.js";
import { timed } from "../inside/timing.js";

const SORTS = [["index", "by number"], ["variance", "by how much they move"], ["like", "like this unit"], ["range", "by the range"], ["labels", "by the property"]];
const HEAT = 300;
const none = { rows: {}, before: {} };

export default function Cells({ view, go, api }) {
  const opened = useOpened(view, go, api);
  const waiting = notYet(opened, html`<${Waiting}>Reading a text with the model…<//>`);
  return html`<div class="grid cells">
    <div class="panel bar"><${TextChoice} opened=${opened.data} text=${opened.text} setText=${opened.setText} view=${view} go=${go} /></div>
    ${waiting ?? html`<${Looked} key=${opened.data.id + opened.data.version} opened=${opened.data} view=${view} go=${go} api=${api} />`}
  </div>`;
}

// The signal that is shown: the one asked for where the network has it, else its cell, or its output.
export function signalOf(view, opened) {
  return opened.signals.includes(view.signal) ? view.signal : opened.signals.includes("c") ? "c" : "h";
}

// Rows of a unit's frame by name: {rows: {c: Float32Array, ...}, before: {c: number, ...}}.
function rowsOf(frame) {
  const { data, shape } = frame.arrays.values;
  const rows = Object.fromEntries(frame.signals.map((name, k) => [name, data.subarray(k * shape[1], (k + 1) * shape[1])]));
  return { rows, before: frame.before, lasting: frame.time_constant, reach: frame.reach };
}

// How a value of a signal is coloured: symmetric about 0, or from 0 to 1; of c up to the unit's own reach, if given.
export function mapOf(opened, signal, reach) {
  const [low, high] = opened.unbounded.includes(signal) && reach ? [-reach, reach] : opened.domains[signal];
  const map = low === 0 ? "orange" : "diverging";
  return { map, low, high, colour: (v, theme) => table(map, theme)[entry(map, v / high)] };
}

function Looked({ opened, view, go, api }) {
  const { symbols, layers, units } = opened;
  const count = symbols.length;
  const signal = signalOf(view, opened);
  const layer = Math.min(view.layer, layers - 1);
  const unit = Math.min(view.unit, units - 1);
  const pos = view.pos >= 0 ? Math.min(view.pos, count - 1) : Math.min(count - 1, 20);
  const range = rangeOf(view.range, count);
  const [sort, setSort] = useState("variance");
  const [anchor, setAnchor] = useState(-1);
  const [marks, setMarks] = useState(false);
  const [own, setOwn] = useState(true);
  const unbounded = opened.unbounded.includes(signal);
  const its = unbounded && own;

  const of = `${opened.id} ${opened.version}`;
  const one = useAsked(`${of} ${layer} ${unit}`, (stop) => frameOf(api, "unit", opened, { layer, unit }, { signal: stop }).then((frame) => ({ ...rowsOf(frame), unit, layer })));
  const all = useAsked(`${of} ${layer} ${signal} ${its}`, (stop) => frameOf(api, "heat", opened, { layer, signal, own: its ? 1 : 0 }, { signal: stop }));
  const gates = useAsked(opened.gates.length ? `${of} ${layer}` : null, (stop) => api(`inside/gates?${new URLSearchParams({ model: opened.model, id: opened.id, layer })}`, undefined, { signal: stop }));
  const ranked = useAsked(range ? `${of} ${signal} ${range}` : null, (stop) => api("inside/range", { model: opened.model, id: opened.id, signal, first: range[0], last: range[1] }, { signal: stop }), 150);
  const labels = useAsked(view.prop ? `${of} ${view.prop}` : null, (stop) => api.frame("inside/labels", { model: opened.model, id: opened.id, property: view.prop }, { signal: stop }));

  const current = one.data ?? none;
  const values = current.rows[signal];
  const scheme = useMemo(() => mapOf(opened, signal, its ? current.reach : 0), [opened, signal, its, current.reach]);
  const painted = useMemo(() => ({ values, scheme, range: range?.join(), anchor, marks, labels: labels.data }), [values, scheme, range?.join(), anchor, marks, labels.data]);
  const agreement = useMemo(() => (labels.data && values ? threshold(values.subarray(0, labels.data.arrays.labels.data.length), labels.data.arrays.labels.data) : null), [labels.data, values]);
  const order = useMemo(() => sorted(sort, all.data, unit, range, labels.data, count), [sort, all.data, sort === "like" ? unit : 0, sort === "range" ? range?.join() : "", labels.data]);

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
      announce("the range begins here; move and press m again");
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
  const letters = opened.signals.filter((name) => !"np".includes(name));
  useKeys(
    {
      ...cursorKeys({ ...view, pos, unit, layer }, go, { length: count, layers, units, signals: letters }),
      ...Object.fromEntries(Object.entries(opened.absent).map(([name, why]) => [name, () => announce(why)])),
      n: () => step(1), p: () => step(-1), m: mark,
      Escape: () => (anchor >= 0 || range ? (setAnchor(-1), go({ range: "" })) : false),
    },
    { "← →": "move through the text", "[ ]": "unit before, after", "{ }": "layer below, above", "n p": "next, previous unit in the order", [letters.join(" ")]: "the signal", m: "mark a range: once where it begins, once where it ends" },
  );

  const say = (k) => `${named(symbols[k])} ${signal} ${values ? value(values[k]) : ""}`;
  const state = current.rows.h && one.data.unit === unit && one.data.layer === layer
    ? { now: at(current.rows, pos), before: pos > 0 ? at(current.rows, pos - 1) : current.before } : null;
  const [near, setNear] = useState(true);
  const [from, to] = near ? around(pos, count) : [0, count];
  const x = useMemo(() => Array.from({ length: to - from }, (_, k) => from + k), [from, to]);
  const lines = useMemo(() => linesOf(current.rows, from, to), [current.rows, from, to]);
  const bands = useMemo(() => bandsOf(opened, current.rows, from, to), [current.rows, from, to]);
  const cellText = `unit ${layers > 1 ? `${layer}:` : ""}${unit}`;

  useEffect(() => {
    if (values) probe("cells", { layer, unit, signal, pos, values: Array.from(values), domain: [scheme.low, scheme.high], now: state?.now, before: state?.before, order, range, agreement: agreement?.score ?? null });
  });

  return html`
    <div class="panel bar row">
      <${Signals} opened=${opened} signal=${signal} onChange=${(name) => pick({ signal: name })} />
      <${Steps} label="Layer" value=${layer} most=${layers - 1} onChange=${(next) => pick({ layer: next })} />
      <${Steps} label="Unit" value=${unit} most=${units - 1} onChange=${(next) => pick({ unit: next })} />
      <span class="pair"><button type="button" class="small" onClick=${() => step(-1)} title="p">Previous</button><button type="button" class="small" onClick=${() => step(1)} title="n">Next in order</button></span>
      <span class="grow"></span>
      ${unbounded && html`<${Choice} label=${`Scale of ${signal}`} value=${own} options=${[[true, "each unit’s own scale"], [false, "one scale for all"]]} onChange=${setOwn} />`}
      <label class="switch"><input type="checkbox" checked=${marks} onChange=${() => setMarks(!marks)} />signs beside colours</label>
      <${Legend} map=${scheme.map} low=${scheme.low === 0 ? "0 shut" : value(scheme.low, 1)} high=${scheme.low === 0 ? "1 open" : value(scheme.high, 1)} />
    </div>

    <div class="w8 pile">
    <${Panel} title=${html`Text, coloured by ${signal} of ${cellText}`} label=${`Text coloured by ${signal} of ${cellText}`}
      aside=${range ? html`range ${range[0]}–${range[1]} <button type="button" class="small" onClick=${() => go({ range: "" })}>Clear</button>` : "drag over the text: which units are on there?"}>
      ${one.error && html`<${Failure} error=${one.error} />`}
      <${RangeText} symbols=${symbols} painted=${painted} pos=${pos} range=${range} anchor=${anchor} onRange=${setRange}
        paint=${(element, k, theme) => paintSymbol(element, k, theme, painted, agreement, range, anchor)}
        onPick=${(k) => pick({ pos: k })} say=${say} label=${`${plural(count, "symbol")}, coloured by ${opened.words[signal]} ${signal} of ${cellText}`} tall />
      ${labels.data && agreement && html`<p class="note">Underlined: ${labels.data.what}. ${signal} of this unit tells them apart with balanced accuracy <b>${fixed(agreement.score, 3)}</b> on this text; red where it does not.
        <button type="button" class="quiet" onClick=${() => go({ prop: "" })}>Hide the labels</button></p>`}
      ${labels.error && html`<${Failure} error=${labels.error} />`}
    <//>
    ${range && html`<${Panel} title="Which units are on here?" aside=${ranked.busy ? "asking…" : `symbols ${range[0]} to ${range[1]}, all layers, by ${signal}`}>
      ${ranked.error && html`<${Failure} error=${ranked.error} />`}
      ${ranked.data && html`<${Ranked} data=${ranked.data} unit=${unit} layer=${layer} go=${go} />`}
    <//>`}
    <${Panel} title=${html`${cellText[0].toUpperCase() + cellText.slice(1)} over the text`} label="The unit over the text"
      aside=${count > 1.5 * AROUND && html`<${Choice} label="How much of the text" value=${near} options=${[[true, "around the cursor"], [false, "the whole text"]]} onChange=${setNear} />`}>
      ${values && html`<${Chart} x=${x} series=${lines} height=${190} xLabel="symbol" yLabel=${opened.signals.includes("c") ? "c, h" : "h"} marks=${[pos]}
        xText=${(k) => `${k} ${named(symbols[k])}`} onPick=${(k) => pick({ pos: x[k] })}
        summary=${`${cellText} over ${plural(to - from, "symbol")}: ${lines.map(({ label, values: of }) => `${label} from ${value(least(of))} to ${value(most(of))}`).join("; ")}`} />`}
      ${bands.length > 0 && html`<${Chart} x=${x} series=${bands} height=${130} xLabel="symbol" yLabel="gates" yRange=${[0, 1]} marks=${[pos]}
        xText=${(k) => `${k} ${named(symbols[k])}`} onPick=${(k) => pick({ pos: x[k] })}
        summary=${`gates of ${cellText}: ${bands.map(({ label, values: of }) => `${label} on average ${fixed(of.reduce((a, b) => a + b, 0) / of.length)}`).join("; ")}`} />`}
    <//>
    </div>
    <div class="w4 pile">
    <${Panel} title="At the cursor" aside=${html`symbol ${pos}, ${fixed(bits(opened.nats[pos]))} bits`}>
      ${state ? html`<${Sums} arch=${opened.arch} now=${state.now} before=${state.before} reach=${(own ? current.reach : opened.domains[opened.unbounded.at(-1)]?.[1]) ?? 1} symbol=${symbols[pos]} />` : html`<${Waiting}>…<//>`}
      ${state && html`<p class="note">${current.lasting ? html`What this unit holds fades to 1/e in ${Number(current.lasting.toPrecision(3))} symbols on average (−1 / mean ln f).` : ""}</p>`}
    <//>
    ${opened.gates.length > 0 && html`<${Panel} title="How often gates stand open" aside=${`layer ${layer}`}>
      ${gates.error && html`<${Failure} error=${gates.error} />`}
      ${gates.data && html`<${Gates} use=${gates.data} unit=${unit} onPick=${(next) => pick({ unit: next })} />`}
    <//>`}
    </div>

    <${Panel} title=${html`All ${units} units of layer ${layer}: ${signal}`} label="All units" aside=${html`<label>rows <select value=${sort} onChange=${(event) => setSort(event.target.value)}>
        ${SORTS.map(([name, text]) => html`<option key=${name} value=${name} disabled=${(name === "range" && !range) || (name === "labels" && !labels.data)} selected=${name === sort}>${text}</option>`)}</select></label>`}>
      ${all.error && html`<${Failure} error=${all.error} />`}
      ${all.data && html`<${Heat} levels=${all.data.arrays.levels.data} count=${count} order=${order} map=${scheme.map} pos=${pos} row=${order.indexOf(unit)} range=${range} height=${HEAT}
        onPick=${(k, row) => { pick({ pos: k, unit: order[row] }); announce(`unit ${order[row]}, ${named(symbols[k])}`); }} onDrag=${setRange}
        summary=${`Heat map of ${signal}: ${units} units by ${count} symbols; unit ${unit} at symbol ${pos} ${values ? value(values[pos]) : ""}. Arrow keys move through it.`} />`}
      <div class="row tight">${its ? html`<${Legend} map="diverging" low="−" high="+" />` : html`<${Legend} map=${scheme.map} low=${scheme.low ? value(scheme.low, 0) : "0"} high=${value(scheme.high, 0)} />`}
        <span class="note">${all.data && unbounded ? (all.data.outside ? `${percent(all.data.outside / (units * count))} % of the values lie beyond the ends of ${its ? `their unit’s scale, which holds 99.5 % of its |${signal}|` : `the scale, which holds 99.5 % of |${signal}|`}.` : "No value lies beyond the ends of the scale.") : ""} Click: a unit at a symbol. Drag: a range.</span></div>
    <//>`;
}

const at = (rows, k) => Object.fromEntries(Object.entries(rows).map(([name, values]) => [name, values[k]]));
// The stretch around the cursor: it stays while the cursor moves within it.
const AROUND = 200;
function around(pos, count) {
  if (count <= 1.5 * AROUND) return [0, count];
  const from = Math.min(count - AROUND, Math.floor(pos / (AROUND / 2)) * (AROUND / 2) - (pos % (AROUND / 2) < AROUND / 4 ? AROUND / 2 : 0));
  return [Math.max(0, from), Math.max(0, from) + AROUND];
}

const least = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
const most = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);

export function rangeOf(written, count) {
  const found = /^(\d{1,6})-(\d{1,6})$/.exec(written ?? "");
  if (!found) return null;
  const [first, last] = [Number(found[1]), Number(found[2])];
  return first <= last && last < count && last - first + 1 < count ? [first, last] : null;
}

function linesOf(rows, from, to) {
  const made = [];
  if (rows.c) made.push({ label: "c", values: Array.from(rows.c.subarray(from, to)), colour: "--orange", width: 1.8 });
  if (rows.h) made.push({ label: "h", values: Array.from(rows.h.subarray(from, to)), colour: "--blue", width: rows.c ? 1 : 1.8 });
  return made;
}
function bandsOf(opened, rows, from, to) {
  const colours = { i: "--green", f: "--violet", o: "--blue", r: "--green", z: "--violet" };
  return opened.gates.filter((name) => rows[name]).map((name) => ({ label: `${name}, ${opened.words[name]}`, values: Array.from(rows[name].subarray(from, to)), colour: colours[name], width: 1.2 }));
}

function sorted(sort, all, unit, range, labels, count) {
  if (!all) return [];
  const { data, shape } = all.arrays.levels;
  const index = Array.from({ length: shape[0] }, (_, k) => k);
  const by = (score) => index.sort((a, b) => score[b] - score[a] || a - b);
  const apart = (inside) => by(aurocs(data, shape[0], count, inside).map((score) => Math.abs(score - 0.5)));
  if (sort === "variance") return by(all.variance);
  if (sort === "like") return by(correlations(data, shape[0], count, unit));
  if (sort === "range" && range) return apart(Uint8Array.from({ length: count }, (_, k) => (k >= range[0] && k <= range[1] ? 1 : 0)));
  if (sort === "labels" && labels) {
    const its = labels.arrays.labels.data;
    return apart(Uint8Array.from({ length: count }, (_, k) => (its[k] > 0 ? 1 : 0)));
  }
  return index;
}

function paintSymbol(element, k, theme, { values, scheme, marks, labels }, agreement, range, anchor) {
  if (k === 0) timed("recolour");
  if (values && k < values.length) {
    const v = values[k];
    const colour = scheme.colour(v, theme);
    element.style.backgroundColor = css(colour);
    element.style.color = ink(colour);
    element.dataset.sign = marks && Math.abs(v) > 0.5 * scheme.high ? (v > 0 ? "+" : "−") : "";
  }
  const on = labels ? labels.arrays.labels.data[k] > 0 : false;
  element.className = `${element.classList.contains("here") ? "here " : ""}${on ? "on " : ""}${agreement?.wrong[k] ? "wrong " : ""}${range && k >= range[0] && k <= range[1] ? "ranged " : ""}${k === anchor ? "anchor" : ""}`.trim();
}

// A passage over which a range can be dragged, or chosen with Shift and the arrow keys.
export function RangeText({ range, anchor, onRange, onPick, pos, symbols, tall, ...rest }) {
  const from = useRef(-1);
  const under = (event) => (event.target.dataset?.k === undefined ? -1 : Number(event.target.dataset.k));
  const up = (event) => {
    const to = under(event);
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
  return html`<div class=${`ranged-text ${tall ? "tall" : ""}`} onPointerDown=${(event) => (from.current = under(event))} onPointerUp=${up} onKeyDownCapture=${onKey}>
    <${Passage} symbols=${symbols} pos=${pos} onPick=${onPick} ...${rest} /></div>`;
}

function Signals({ opened, signal, onChange }) {
  const order = (name) => -"hc".indexOf(name); // c and h first
  const names = Object.keys(opened.words).sort((a, b) => order(a) - order(b));
  return html`<${Choice} label="Signal" value=${signal} options=${names.map((name) => [name, name, opened.absent[name]])} onChange=${onChange} />
    <span class="muted">${opened.words[signal]}${Object.keys(opened.absent).length ? html` · ${Object.values(opened.absent)[0]}` : ""}</span>`;
}

export function Steps({ label, value: now, most: last, onChange }) {
  const to = (next) => Number.isFinite(next) && onChange(Math.min(last, Math.max(0, Math.round(next))));
  return html`<span class="steps" role="group" aria-label=${label}><span class="muted">${label}</span>
    <button type="button" class="small" disabled=${now <= 0} aria-label=${`${label} ${now - 1}`} onClick=${() => to(now - 1)}>−</button>
    <input type="number" min="0" max=${last} value=${now} aria-label=${label} onChange=${(event) => to(Number(event.target.value))} />
    <button type="button" class="small" disabled=${now >= last} aria-label=${`${label} ${now + 1}`} onClick=${() => to(now + 1)}>+</button></span>`;
}

function Ranked({ data, unit, layer, go }) {
  return html`<${Table} caption="Units that tell the range from the rest of the text" page=${10} rows=${data.units} columns=${[
    ["unit", (row) => html`<button type="button" class=${`small ${row.unit === unit && row.layer === layer ? "main" : ""}`} onClick=${() => go({ layer: row.layer, unit: row.unit })}>${row.layer}:${row.unit}</button>`],
    ["on here", (row) => (row.on ? "high" : "low")],
    ["AUROC within this text", (row) => fixed(row.on ? row.auroc : 1 - row.auroc, 3), "number"],
    ["", (row) => html`<i class="gauge" aria-hidden="true"><i class="fill" style=${{ width: `${200 * Math.abs(row.auroc - 0.5)}%` }}></i></i>`],
  ]} /><p class="note">Chosen and measured on the same few symbols: a hint, not a finding. <a href="#/find" onClick=${(event) => { event.preventDefault(); go({ screen: "find" }); }}>Find</a> measures on text that was held out.</p>`;
}
