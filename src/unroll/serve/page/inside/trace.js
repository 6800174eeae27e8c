// The trace of a text through a model, shared by the screens that look inside, and the choice of that text.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { number, plural } from "../frame/format.js";
import { Failure, Field, useRequest } from "../frame/parts.js";
import { useText } from "../frame/view.js";

const WINDOW = 2000;

// The text of the linked cursor, or symbols of the model's own from number view.at on, traced:
// {data: {id, symbols, nats, signals, ...}, error, busy, text, setText}.
export function useTrace(view, go, api) {
  const [text, setText] = useText(view, go, api);
  const first = Number(view.at) || 0;
  const key = !view.model || text === null ? null : JSON.stringify([view.model, text, text ? 0 : first]);
  const body = text ? { model: view.model, text } : { model: view.model, part: { first, length: WINDOW } };
  const answer = useRequest(key, (signal) => api("inside/open", body, { signal }), 120);
  const current = answer.data && answer.data.model === view.model ? answer.data : null;
  return { ...answer, data: current, text, setText };
}

// Frames that belong to a traced text.
export async function frameOf(api, path, trace, more, options) {
  const query = new URLSearchParams({ model: trace.model, id: trace.id, ...more });
  return api.frame(`inside/${path}?${query}`, undefined, options);
}

// The choice of the text: the model's own, passage by passage, or one that is typed or pasted.
export function TextChoice({ trace, text, setText, view, go }) {
  const [open, setOpen] = useState(false);
  const box = useRef(null);
  const modelText = !text;
  useEffect(() => {
    if (open) box.current?.focus();
  }, [open]);
  const turnPage = (at) => go({ at: at || "", pos: -1, range: "" });
  const use = () => {
    const typed = box.current.value;
    setOpen(false);
    setText(typed, { pos: -1, at: "", range: "" });
  };
  return html`<div class="text-choice">
    <div class="row tight">
      <span class="muted">${trace
        ? html`${plural(trace.symbols.length, "symbol")} of ${modelText ? html`${trace.source}` : "your text"}${modelText
        && trace.total > trace.symbols.length ? html`, from ${number(trace.first)} of ${number(trace.total)}` : ""}` : "…"}</span>
      ${modelText && trace && trace.total > trace.symbols.length && html`<span class="pair">
        <button type="button" class="small" disabled=${trace.first === 0} onClick=${() => turnPage(Math.max(0, trace.first - WINDOW))}>Earlier</button>
        <button type="button" class="small" disabled=${trace.first + trace.symbols.length >= trace.total}
          onClick=${() => turnPage(trace.first + WINDOW)}>Later</button></span>`}
      <button type="button" class="small" aria-expanded=${open} onClick=${() => setOpen(!open)}>${modelText ? "Use your own text" : "Change the text"}</button>
      ${!modelText && html`<button type="button" class="small" onClick=${() => setText("", { pos: -1, at: "" })}>Use the model’s own text</button>`}
    </div>
    ${open && html`<div class="stack">
      <label class="field"><span>Text</span>
        <textarea rows="5" data-text ref=${box} maxlength="200000" spellcheck=${false}>${text || (trace ? trace.symbols.join("") : "")}</textarea></label>
      <div class="row tight"><button type="button" class="main" onClick=${use}>Use it</button>
        <button type="button" onClick=${() => setOpen(false)}>Cancel</button></div>
    </div>`}
    ${trace?.notes.map((note) => html`<p class="note" key=${note}>${note}</p>`)}
  </div>`;
}

// The text that a screen measures: symbols of the model's own text, or the text of the linked cursor, which can be
// pasted. sizes: [symbols, their label]; view.on is "text" or "own", view.size one of the sizes. By default the text
// of the cursor is used if it is long enough to measure on.
const MEASURABLE = 1000;
export function sourceOf(view, text, sizes) {
  const size = sizes.find(([count]) => String(count) === view.size)?.[0] ?? sizes[0][0];
  const fromText = text && (view.on === "text" || (view.on !== "own" && text.length >= MEASURABLE));
  return fromText ? { text } : { part: { first: 0, length: size } };
}

export function SourceChoice({ view, go, text, setText, sizes }) {
  const [open, setOpen] = useState(false);
  const box = useRef(null);
  const source = sourceOf(view, text, sizes);
  useEffect(() => {
    if (open) box.current?.focus();
  }, [open]);
  const use = () => {
    if (!box.current.value) return;
    setOpen(false);
    setText(box.current.value, { on: "text", pos: -1, at: "" });
  };
  return html`<div class="source">
    <div class="row"><${Field} label="On">
      <select value=${source.part ? String(source.part.length) : "text"}
      onChange=${(event) => go(event.target.value === "text" ? { on: "text" } : { on: "own", size: event.target.value })}>
      ${sizes.map(([count, extent]) => html`
        <option key=${count} value=${count} selected=${source.part?.length === count}>the model’s validation part${extent ? `, ${extent}` : ""}</option>`)}
      <option value="text" disabled=${!text} selected=${!source.part}>
        ${text ? `your text, ${plural(text.length, "character")}` : "your own text: paste one"}</option></select><//>
      <button type="button" aria-expanded=${open} onClick=${() => setOpen(!open)}>Paste a text</button></div>
    ${open && html`<div class="stack"><label class="field"><span>Text</span>
      <textarea rows="5" data-text ref=${box} maxlength="400000" spellcheck=${false}>${text ?? ""}</textarea></label>
      <div class="row tight"><button type="button" class="main" onClick=${use}>Use it</button>
        <button type="button" onClick=${() => setOpen(false)}>Cancel</button></div></div>`}
  </div>`;
}

// Shown in place of a screen until there is data; then null.
export function placeholder({ data, error, busy }, waiting) {
  if (error) return html`<${Failure} error=${error} />`;
  if (!data) return waiting;
  return null;
}

// The name of an architecture; an n-gram is the only model that is not a network.
export const labelOf = (arch, info) => info.architectures[arch]?.label ?? "n-gram";

// The models side by side on a screen, of those that fit: view.with names them, joined by commas; else the chosen one
// and up to two more of the same vocabulary level, other architectures first.
export function sideBySide(view, info, most = 3, fits = () => true) {
  const usable = info.models.filter(fits);
  const names = (view.with ?? "").split(",").filter((name) => usable.some((model) => model.name === name));
  if (names.length) return names.slice(0, 4);
  const model = usable.find(({ name }) => name === view.model) ?? usable[0];
  if (!model) return [];
  const kinds = new Set([model.arch]);
  const others = usable.filter(({ arch, level }) => level === model.level && !kinds.has(arch) && kinds.add(arch));
  return [model, ...others].slice(0, most).map(({ name }) => name);
}

const FEW = 6;

// Check boxes for the models side by side, folded where there are many.
export function ModelChoice({ names, info, most = 4, onChange, fits = () => "" }) {
  return html`<details class="chooser" open=${info.models.length <= FEW}>
    <summary>Models side by side: <b>${names.join(", ")}</b></summary>
    <fieldset class="models"><legend class="unseen">Models side by side</legend>
    ${info.models.map((model) => {
      const on = names.includes(model.name);
      const reason = fits(model);
      return html`<label class="switch" key=${model.name} title=${reason || model.brief}>
        <input type="checkbox" checked=${on} disabled=${Boolean(reason) || (!on && names.length >= most) || (on && names.length === 1)}
        onChange=${() => onChange(on ? names.filter((name) => name !== model.name) : [...names, model.name])} />${model.name} <small>
          ${labelOf(model.arch, info)}</small></label>`;
    })}</fieldset></details>`;
}

export const COLOURS = ["--blue", "--orange", "--green", "--violet"];
// One colour for each kind of network on all screens; a second model of a kind takes the next free colour.
export function coloursOf(names, info) {
  const usedColours = new Set();
  return names.map((name) => {
    const arch = info.models.find((one) => one.name === name)?.arch;
    const archColour = arch === "ngram" ? "--muted" : info.architectures[arch]?.colour;
    const colour = archColour && !usedColours.has(archColour) ? archColour : (COLOURS.find((one) => !usedColours.has(one)) ?? "--muted");
    usedColours.add(colour);
    return colour;
  });
}
