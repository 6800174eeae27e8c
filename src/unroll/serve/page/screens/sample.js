// Sample: texts that a model writes, symbol by symbol, coloured by surprise; branches from any symbol; clamped units.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { Bars, Sampler } from "../frame/bars.js";
import { paint } from "../frame/colour.js";
import { ApiError } from "../frame/fetch.js";
import { bits, fixed, meanCost, number, plural, symbolText } from "../frame/format.js";
import { useKeys } from "../frame/keys.js";
import { announce } from "../frame/live.js";
import { Choice, Failure, Field, Panel, Slider, Waiting, useRequest } from "../frame/parts.js";
import { Passage } from "../frame/passage.js";
import { probe } from "../frame/probe.js";
import { optionsOf } from "../frame/reweigh.js";
import { modelOf } from "../frame/screens.js";
import { useText } from "../frame/view.js";

const FULL = 12; // bits at which a colour would be full: high, so that ordinary text stays pale
const MOST = 8;

// Clamped units, as the address has them: "0.c.17:1.5,1.h.3:-1".
const pinsOf = (view) =>
  (view.pins ?? "").split(",").map((one) => /^(\d+)\.([ch])\.(\d+):(-?[\d.]+)$/.exec(one)).filter(Boolean)
    .map(([, layer, signal, unit, value]) => ({ layer: Number(layer), signal, unit: Number(unit), value: Number(value) }));
const pinsText = (pins) => pins.map(({ layer, signal, unit, value }) => `${layer}.${signal}.${unit}:${value}`).join(",") || null;

export default function Sample({ view, go, api, info }) {
  const model = modelOf(view, info);
  const [prompt, setPrompt] = useText(view, go, api);
  const options = optionsOf(view);
  const seed = Number(view.seed ?? 0) || 0;
  const length = Math.min(4000, Math.max(1, Number(view.length ?? 300) || 300));
  const count = Math.min(MOST, Math.max(1, Number(view.columns ?? 3) || 3));
  const pins = pinsOf(view);
  const [columns, setColumns] = useState([]);
  const [error, setError] = useState(null);
  const [notes, setNotes] = useState([]); // what the server says of the prompt
  const [busy, setBusy] = useState(0);
  const [place, setPlace] = useState(null); // {column, k}: the chosen symbol
  const stop = useRef(null);

  const request = (more) => ({ model: model.name, ...options, seed, pins, ...more });
  // Writes `targets`: all columns again, or one more that begins with the text of another.
  const stream = async (body, targets) => {
    stop.current?.abort();
    stop.current = new AbortController();
    const controller = stop.current;
    setBusy(targets.length);
    setError(null);
    let pending = [];
    let frame = 0;
    const flush = () => {
      frame = 0;
      const pieces = pending;
      pending = [];
      setColumns((before) => before.map((column) => {
        const k = targets.indexOf(column.id);
        if (k < 0) return column;
        const parts = pieces.map((piece) => piece[k]);
        const join = (name) => [...column[name], ...parts.flatMap((part) => part[name])];
        return { ...column, ids: join("ids"), symbols: join("symbols"), nats: join("nats"), ended: column.ended || parts.some((part) => part.ended) };
      }));
    };
    try {
      await api.lines("sample", body, (line) => {
        if (line.error) throw new ApiError(400, line.error);
        if (line.notes) setNotes(line.notes);
        if (!line.columns || controller.signal.aborted) return;
        pending.push(line.columns);
        frame ||= requestAnimationFrame(flush);
      }, { signal: controller.signal });
      cancelAnimationFrame(frame);
      flush();
      announce(`${plural(targets.length, "text")} of ${number(body.length)} symbols`);
    } catch (problem) {
      if (problem.name !== "AbortError") setError(problem);
    } finally {
      if (stop.current === controller) setBusy(0);
    }
  };
  const write = (start = seed) => {
    const newColumns = Array.from({ length: count },
      (_, k) => ({ id: `${start}.${k}`, title: `seed ${start}, stream ${k}`, ids: [], symbols: [], nats: [], given: 0 }));
    setPlace(null);
    setColumns(newColumns);
    stream(request({ prompt, length, columns: count, seed: start }), newColumns.map(({ id }) => id));
  };
  const branch = (symbol, id) => {
    const from = columns[place.column];
    const ids = [...from.ids.slice(0, place.k), id];
    const branchColumn = { id: `b${Date.now()}`, title: `branch of ${place.column + 1} at ${place.k + 1}`, ids,
      symbols: [...from.symbols.slice(0, place.k), symbol], nats: [...from.nats.slice(0, place.k), 0], given: ids.length };
    setColumns((before) => [...before.slice(-(MOST - 1)), branchColumn]);
    setPlace(null);
    stream(request({ prompt, ids, length: Math.max(1, length - ids.length), columns: 1 }), [branchColumn.id]);
  };
  const quit = () => {
    stop.current?.abort();
    setBusy(0);
  };
  useEffect(() => () => stop.current?.abort(), []);
  // The same address writes the same texts: when the screen opens, and when the model changes.
  useEffect(() => {
    if (model && prompt !== null) write();
  }, [model?.name, prompt === null]);
  // A changed clamp writes the same seed again, a moment later.
  const pinsKey = view.pins ?? "";
  const pinsKeyBefore = useRef(pinsKey);
  useEffect(() => {
    if (pinsKeyBefore.current === pinsKey || !model) return;
    pinsKeyBefore.current = pinsKey;
    const timer = setTimeout(() => write(), 250);
    return () => clearTimeout(timer);
  }, [pinsKey]);
  useKeys(
    { s: () => write(), n: () => { go({ seed: String(seed + 1) }, { quiet: true }); write(seed + 1); }, Escape: quit },
    { s: "write", n: "write with the next seed", Esc: "stop" },
  );
  useEffect(() => {
    probe("sample", { busy,
      columns: columns.map(({ title, ids, symbols, nats, given, ended }) => ({ title, ids, text: symbols.join(""), symbols, nats, given, ended })), pins, seed, notes });
  });

  const keep = (name) => (event) => go({ [name]: event.target.value || null }, { quiet: true });
  return html`<div class="grid">
    <div class="w3 stack">
      <${Panel} class="stack" title="Prompt">
        <textarea data-text rows="3" value=${prompt ?? ""} spellcheck="false" aria-label="Prompt" placeholder="from the start"
          onChange=${(event) => setPrompt(event.target.value, { pos: -1 })}></textarea>
        ${notes.map((note) => html`<p class="note" key=${note}>The prompt has symbols ${note}.</p>`)}
        <div class="row trio">
          <${Field} label="Texts"><input type="number" min="1" max=${MOST} value=${count} onChange=${keep("columns")} /><//>
          <${Field} label="Symbols"><input type="number" min="1" max="4000" value=${length} onChange=${keep("length")} /><//>
          <${Field} label="Seed"><input type="number" min="0" value=${seed} onChange=${keep("seed")} /><//>
        </div>
        <${Sampler} options=${options} go=${go} />
        <div class="row">${busy ? html`<button type="button" onClick=${quit}>Stop</button>`
          : html`<button type="button" class="main" onClick=${() => write()}>Write</button>`}
          <button type="button" onClick=${() => { go({ seed: String(seed + 1) }, { quiet: true }); write(seed + 1); }}>Next seed</button></div>
      <//>
      <${Pins} model=${model} pins=${pins} view=${view} set=${(next) => go({ pins: pinsText(next) }, { quiet: true })} />
    </div>
    <div class="w9 stack">
      ${error && html`<${Failure} error=${error} />`}
      <${Panel} title="Samples" aside=${html`<span class="scale"><span>expected</span><i class="ramp orange"></i><span>surprising</span></span>`}>
        <div class="columns" style=${{ "--columns": Math.min(columns.length, 4) }}>
          ${columns.map((column, n) => html`
            <${Column} key=${column.id} column=${column} level=${model.level} n=${n} place=${place?.column === n ? place.k : -1} busy=${busy}
            onPick=${(k) => setPlace({ column: n, k })}
            close=${columns.length > 1 ? () => { setColumns(columns.filter((one) => one !== column)); setPlace(null); } : null} />`)}
        </div>
        ${!place && columns[0]?.symbols.length > 0 && html`<p class="note">Click a symbol to see alternatives; each starts a branch.</p>`}
      <//>
      ${place && columns[place.column] && html`
        <${Alternatives} key=${`${place.column}.${place.k}`} api=${api} model=${model} prompt=${prompt} column=${columns[place.column]} k=${place.k}
        options=${options} branch=${branch} close=${() => setPlace(null)} />`}
    </div>
  </div>`;
}

function Column({ column, level, n, place, busy, onPick, close }) {
  const written = column.nats.slice(column.given);
  const [mean, , unit] = meanCost(level, written, column.symbols.slice(column.given, column.nats.length));
  const colour = useMemo(() => (element, k, theme) => {
    if (k >= column.nats.length) return;
    if (k < column.given) {
      element.style.backgroundColor = "";
      element.style.color = "var(--muted)";
      return;
    }
    paint(element, "orange", bits(column.nats[k]) / FULL, theme);
  }, [column]);
  return html`<article class="column" aria-label=${`Text ${n + 1}`}>
    <header><b>${n + 1}</b><span>${column.title}</span>
      <span class="grow"></span>
      ${written.length > 0 && html`<span>${fixed(mean)} ${unit}</span>`}${close && html`
      <button type="button" class="quiet" aria-label=${`Close text ${n + 1}`} onClick=${close}>×</button>`}</header>
    <${Passage} label=${`Text ${n + 1}, coloured by surprise`} symbols=${column.symbols} paint=${colour} painted=${column} pos=${place} onPick=${onPick}
      say=${(k) => `${symbolText(column.symbols[k])}, ${fixed(bits(column.nats[k]))} bits`} />
    ${column.ended && html`<p class="note">The document ends here.</p>`}
    ${!column.symbols.length && busy > 0 && html`<${Waiting}>Reading the prompt…<//>`}
  </article>`;
}

// Alternatives to a symbol, and a branch for each.
function Alternatives({ api, model, prompt, column, k, options, branch, close }) {
  const { data, error } = useRequest(`${model.version} ${k}`, (signal) => api("next", { model: model.name, prompt, ids: column.ids.slice(0, k) }, { signal }));
  const before = column.symbols.slice(Math.max(0, k - 24), k).map((symbol) => (symbol === " " ? " " : symbolText(symbol))).join("");
  return html`<${Panel}
    title=${html`In place of <span class="sym hit">${symbolText(column.symbols[k])}</span> after <span class="sym">${before || "the prompt"}</span>`}
    aside=${html`<button type="button" class="small" onClick=${close}>Close</button>`}>
    ${error && html`<${Failure} error=${error} />`}
    ${data ? html`<div class="alternatives">
      <${Bars} next=${data} options=${options} actual=${data.symbols[data.ids.indexOf(column.ids[k])]} count=${10} onPick=${branch} label="Alternatives" /></div>
      <p class="note">Each starts a branch: the text up to here, that symbol, and a new continuation.</p>` : html`<${Waiting}>Looking…<//>`}
  <//>`;
}

// Units clamped to a value while the model writes: what does a unit stand for?
function Pins({ model, pins, view, set }) {
  const [layer, setLayer] = useState(view.layer);
  const [unit, setUnit] = useState(view.unit);
  const signals = ["c", "h"].filter((signal) => model.signals.includes(signal));
  const [signal, setSignal] = useState(signals.includes(view.signal) ? view.signal : signals[0]);
  if (model.arch === "ngram" || model.arch === "window") return html`<${Panel} title="Clamp a unit">
    <p class="note">${model.arch === "window" ? "A window has no state to clamp: it sees only its last symbols." : "An n-gram has no units."}</p><//>`;
  return html`<${Panel} class="stack" title="Clamp a unit">
    <p class="note">A clamped unit keeps its value at every step. If it stands for something, the text shows it.</p>
    ${pins.map((pin, k) => html`<div class="pin" key=${`${pin.layer}${pin.signal}${pin.unit}`}>
      <${Slider} label=${`layer ${pin.layer}, ${pin.signal} of unit ${pin.unit}`} value=${pin.value} text=${fixed(pin.value, 1)}
        min=${model.unbounded.includes(pin.signal) ? -5 : -1} max=${model.unbounded.includes(pin.signal) ? 5 : 1} step="0.1"
        onInput=${(value) => set(pins.map((one, j) => (j === k ? { ...one, value } : one)))} />
      <button type="button" class="quiet" aria-label=${`Release layer ${pin.layer}, ${pin.signal} of unit ${pin.unit}`} onClick=${() => set(pins.filter((_, j) => j !== k))}>×</button></div>`)}
    <div class="row hold">
      ${model.layers > 1 && html`<${Field} label="Layer">
        <input type="number" min="0" max=${model.layers - 1} value=${layer} onChange=${(event) => setLayer(Number(event.target.value))} /><//>`}
      <${Field} label="Unit"><input type="number" min="0" max=${model.units - 1} value=${unit} onChange=${(event) => setUnit(Number(event.target.value))} /><//>
      ${signals.length > 1 && html`<${Choice} label="Signal" value=${signal} options=${signals.map((one) => [one, one])} onChange=${setSignal} />`}
      <button type="button" disabled=${pins.length >= 16}
        onClick=${() => set([...pins.filter((one) => one.layer !== layer || one.unit !== unit || one.signal !== signal),
        { layer, signal, unit, value: 1 }])}>Clamp</button>
    </div>
  <//>`;
}
