// Sample: texts that a model writes, symbol by symbol, coloured by surprise; branches from any symbol; units held.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { Bars, Sampler } from "../frame/bars.js";
import { paint } from "../frame/colour.js";
import { bits, fixed, number, plural, shown } from "../frame/format.js";
import { useKeys } from "../frame/keys.js";
import { announce } from "../frame/live.js";
import { Choice, Failure, Field, Panel, Slider, Waiting, useAsked } from "../frame/parts.js";
import { Passage } from "../frame/passage.js";
import { probe } from "../frame/probe.js";
import { optionsOf } from "../frame/reweigh.js";
import { modelOf } from "../frame/screens.js";
import { useText } from "../frame/view.js";

const FULL = 12; // bits at which a colour would be full: a strong one, so the scale is kept calm
const MOST = 8;

// Units held, as they stand in the address: "0.c.17:1.5,1.h.3:-1".
const pinsOf = (view) =>
  (view.pins ?? "").split(",").map((one) => /^(\d+)\.([ch])\.(\d+):(-?[\d.]+)$/.exec(one)).filter(Boolean)
    .map(([, layer, signal, unit, value]) => ({ layer: Number(layer), signal, unit: Number(unit), value: Number(value) }));
const pinned = (pins) => pins.map(({ layer, signal, unit, value }) => `${layer}.${signal}.${unit}:${value}`).join(",") || null;

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
  const [busy, setBusy] = useState(0);
  const [place, setPlace] = useState(null); // {column, k}: the symbol that is looked at
  const stop = useRef(null);

  const request = (more) => ({ model: model.name, ...options, seed, pins, ...more });
  // Writes: `fresh` columns anew, or one more that begins with what another has written.
  const stream = async (body, targets) => {
    stop.current?.abort();
    stop.current = new AbortController();
    const mine = stop.current;
    setBusy(targets.length);
    setError(null);
    let held = [];
    let frame = 0;
    const flush = () => {
      frame = 0;
      const some = held;
      held = [];
      setColumns((before) => before.map((column) => {
        const k = targets.indexOf(column.id);
        if (k < 0) return column;
        const parts = some.map((piece) => piece[k]);
        const joined = (name) => [...column[name], ...parts.flatMap((part) => part[name])];
        return { ...column, ids: joined("ids"), symbols: joined("symbols"), nats: joined("nats") };
      }));
    };
    try {
      await api.lines("sample", body, (line) => {
        if (line.error) throw Object.assign(new Error(line.error.message), { allowed: "", fix: "" });
        if (!line.columns || mine.signal.aborted) return;
        held.push(line.columns);
        frame ||= requestAnimationFrame(flush);
      }, { signal: mine.signal });
      cancelAnimationFrame(frame);
      flush();
      announce(`${plural(targets.length, "text")} of ${number(body.length)} symbols`);
    } catch (problem) {
      if (problem.name !== "AbortError") setError(problem);
    } finally {
      if (stop.current === mine) setBusy(0);
    }
  };
  const write = (start = seed) => {
    const fresh = Array.from({ length: count }, (_, k) => ({ id: `${start}.${k}`, title: `seed ${start}, stream ${k}`, ids: [], symbols: [], nats: [], given: 0 }));
    setPlace(null);
    setColumns(fresh);
    stream(request({ prompt, length, columns: count, seed: start }), fresh.map(({ id }) => id));
  };
  const branch = (symbol, id) => {
    const from = columns[place.column];
    const ids = [...from.ids.slice(0, place.k), id];
    const made = { id: `b${Date.now()}`, title: `branch of ${place.column + 1} at ${place.k + 1}`, ids, symbols: [...from.symbols.slice(0, place.k), symbol], nats: [...from.nats.slice(0, place.k), 0], given: ids.length };
    setColumns((before) => [...before.slice(-(MOST - 1)), made]);
    setPlace(null);
    stream(request({ prompt, ids, length: Math.max(1, length - ids.length), columns: 1 }), [made.id]);
  };
  const quit = () => {
    stop.current?.abort();
    setBusy(0);
  };
  useEffect(() => () => stop.current?.abort(), []);
  // The same address writes the same texts: at once when one comes here, and when the model is another one.
  useEffect(() => {
    if (model && prompt !== null) write();
  }, [model?.name, prompt === null]);
  // Another unit, another value: the same seed again, a moment later.
  const held = view.pins ?? "";
  const heldBefore = useRef(held);
  useEffect(() => {
    if (heldBefore.current === held || !model) return;
    heldBefore.current = held;
    const timer = setTimeout(() => write(), 250);
    return () => clearTimeout(timer);
  }, [held]);
  useKeys(
    { s: () => write(), n: () => { go({ seed: String(seed + 1) }, { quiet: true }); write(seed + 1); }, Escape: quit },
    { s: "write", n: "write with the next seed", Esc: "stop" },
  );
  useEffect(() => {
    probe("sample", { busy, columns: columns.map(({ title, ids, symbols, nats, given }) => ({ title, ids, text: symbols.join(""), symbols, nats, given })), pins, seed });
  });

  if (!model) return html`<${Panel}><${Waiting}>A model appears here as soon as one begins to learn.<//><//>`;
  const keep = (name) => (event) => go({ [name]: event.target.value || null }, { quiet: true });
  return html`<div class="grid">
    <div class="w3 stack">
      <${Panel} class="stack" title="Prompt">
        <textarea data-text rows="3" value=${prompt ?? ""} spellcheck="false" aria-label="Prompt" placeholder="from the start" onChange=${(event) => setPrompt(event.target.value, { pos: -1 })}></textarea>
        <div class="row trio">
          <${Field} label="Texts"><input type="number" min="1" max=${MOST} value=${count} onChange=${keep("columns")} /><//>
          <${Field} label="Symbols"><input type="number" min="1" max="4000" value=${length} onChange=${keep("length")} /><//>
          <${Field} label="Seed"><input type="number" min="0" value=${seed} onChange=${keep("seed")} /><//>
        </div>
        <${Sampler} options=${options} go=${go} />
        <div class="row">${busy ? html`<button type="button" onClick=${quit}>Stop</button>` : html`<button type="button" class="main" onClick=${() => write()}>Write</button>`}
          <button type="button" onClick=${() => { go({ seed: String(seed + 1) }, { quiet: true }); write(seed + 1); }}>Next seed</button></div>
      <//>
      <${Pins} model=${model} pins=${pins} view=${view} set=${(some) => go({ pins: pinned(some) }, { quiet: true })} />
    </div>
    <div class="w9 stack">
      ${error && html`<${Failure} error=${error} />`}
      <${Panel} title="What it writes" aside=${html`<span class="scale"><span>expected</span><i class="ramp orange"></i><span>surprising to the model itself</span></span>`}>
        <div class="columns" style=${{ "--columns": Math.min(columns.length, 4) }}>
          ${columns.map((column, n) => html`<${Column} key=${column.id} column=${column} n=${n} place=${place?.column === n ? place.k : -1} busy=${busy} onPick=${(k) => setPlace({ column: n, k })}
            close=${columns.length > 1 ? () => { setColumns(columns.filter((one) => one !== column)); setPlace(null); } : null} />`)}
        </div>
        ${!place && columns[0]?.symbols.length > 0 && html`<p class="note">Choose a symbol to see what else might have stood there, and to go on from it.</p>`}
      <//>
      ${place && columns[place.column] && html`<${Alternatives} key=${`${place.column}.${place.k}`} api=${api} model=${model} prompt=${prompt} column=${columns[place.column]} k=${place.k} options=${options} branch=${branch} close=${() => setPlace(null)} />`}
    </div>
  </div>`;
}

function Column({ column, n, place, busy, onPick, close }) {
  const cost = column.nats.slice(column.given).reduce((sum, v) => sum + v, 0);
  const written = column.nats.length - column.given;
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
    <header><b>${n + 1}</b><span>${column.title}</span><span class="grow"></span>${written > 0 && html`<span>${fixed(bits(cost) / written)} bits/symbol</span>`}${close && html`<button type="button" class="quiet" aria-label=${`Close text ${n + 1}`} onClick=${close}>×</button>`}</header>
    <${Passage} label=${`Text ${n + 1}, coloured by surprise`} symbols=${column.symbols} paint=${colour} painted=${column} pos=${place} onPick=${onPick}
      say=${(k) => `${shown(column.symbols[k])}, ${fixed(bits(column.nats[k]))} bits`} />
    ${!column.symbols.length && busy > 0 && html`<${Waiting}>Reading the prompt…<//>`}
  </article>`;
}

// What might have stood in place of a symbol, and a branch for each.
function Alternatives({ api, model, prompt, column, k, options, branch, close }) {
  const { data, error } = useAsked(`${model.version} ${k}`, (signal) => api("next", { model: model.name, prompt, ids: column.ids.slice(0, k) }, { signal }));
  const before = column.symbols.slice(Math.max(0, k - 24), k).map((symbol) => (symbol === " " ? " " : shown(symbol))).join("");
  return html`<${Panel} title=${html`In place of <span class="sym hit">${shown(column.symbols[k])}</span> after <span class="sym">${before || "the prompt"}</span>`}
    aside=${html`<button type="button" class="small" onClick=${close}>Close</button>`}>
    ${error && html`<${Failure} error=${error} />`}
    ${data ? html`<div class="alternatives"><${Bars} next=${data} options=${options} actual=${column.symbols[k]} count=${10} onPick=${branch} label="What might have stood here" /></div>
      <p class="note">Each branches off: the text up to here, then that symbol, and on from there. What was read is kept, so it goes on at once.</p>` : html`<${Waiting}>Looking…<//>`}
  <//>`;
}

// Units that are held at a value while it writes: what a unit stands for, tried out.
function Pins({ model, pins, view, set }) {
  const [layer, setLayer] = useState(view.layer);
  const [unit, setUnit] = useState(view.unit);
  const signals = ["c", "h"].filter((signal) => model.signals.includes(signal));
  const [signal, setSignal] = useState(signals.includes(view.signal) ? view.signal : signals[0]);
  if (model.arch === "ngram" || model.arch === "window") return html`<${Panel} title="Hold a unit"><p class="note">${model.arch === "window" ? "A window has no state to hold: it sees its last symbols and nothing else." : "An n-gram has no units."}</p><//>`;
  return html`<${Panel} class="stack" title="Hold a unit">
    <p class="note">While it writes, a unit stays at a value, at every step. If it stands for something, the text shows it.</p>
    ${pins.map((pin, k) => html`<div class="pin" key=${`${pin.layer}${pin.signal}${pin.unit}`}>
      <${Slider} label=${`layer ${pin.layer + 1}, ${pin.signal} of unit ${pin.unit}`} value=${pin.value} text=${fixed(pin.value, 1)} min=${model.unbounded.includes(pin.signal) ? -5 : -1} max=${model.unbounded.includes(pin.signal) ? 5 : 1} step="0.1"
        onInput=${(value) => set(pins.map((one, j) => (j === k ? { ...one, value } : one)))} />
      <button type="button" class="quiet" aria-label="Let it go" onClick=${() => set(pins.filter((_, j) => j !== k))}>×</button></div>`)}
    <div class="row hold">
      ${model.layers > 1 && html`<${Field} label="Layer"><input type="number" min="1" max=${model.layers} value=${layer + 1} onChange=${(event) => setLayer(Number(event.target.value) - 1)} /><//>`}
      <${Field} label="Unit"><input type="number" min="0" max=${model.units - 1} value=${unit} onChange=${(event) => setUnit(Number(event.target.value))} /><//>
      ${signals.length > 1 && html`<${Choice} label="Signal" value=${signal} options=${signals.map((one) => [one, one])} onChange=${setSignal} />`}
      <button type="button" disabled=${pins.length >= 16} onClick=${() => set([...pins.filter((one) => one.layer !== layer || one.unit !== unit || one.signal !== signal), { layer, signal, unit, value: 1 }])}>Hold</button>
    </div>
  <//>`;
}
