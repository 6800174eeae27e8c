// A text traced through a model, as the screens that look inside share it, and the choice of which text that is.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { number, plural } from "../frame/format.js";
import { Failure, Field, useAsked } from "../frame/parts.js";
import { useText } from "../frame/view.js";

const WINDOW = 2000;

// The text of the linked cursor, or symbols of the model's own from number view.at on, traced:
// {data: {id, symbols, nats, signals, ...}, error, busy, text, setText}.
export function useOpened(view, go, api) {
  const [text, setText] = useText(view, go, api);
  const first = Number(view.at) || 0;
  const key = !view.model || text === null ? null : JSON.stringify([view.model, text, text ? 0 : first]);
  const body = text ? { model: view.model, text } : { model: view.model, part: { first, length: WINDOW } };
  const answer = useAsked(key, (signal) => api("inside/open", body, { signal }), 120);
  const fresh = answer.data && answer.data.model === view.model ? answer.data : null;
  return { ...answer, data: fresh, text, setText };
}

// Frames that belong to a traced text.
export async function frameOf(api, path, opened, more, options) {
  const query = new URLSearchParams({ model: opened.model, id: opened.id, ...more });
  return api.frame(`inside/${path}?${query}`, undefined, options);
}

// Which text is looked at: the model's own, passage by passage, or one that is typed or pasted.
export function TextChoice({ opened, text, setText, view, go }) {
  const [open, setOpen] = useState(false);
  const box = useRef(null);
  const own = !text;
  useEffect(() => {
    if (open) box.current?.focus();
  }, [open]);
  const turn = (at) => go({ at: at || "", pos: -1, range: "" });
  const use = () => {
    const typed = box.current.value;
    setOpen(false);
    setText(typed, { pos: -1, at: "", range: "" });
  };
  return html`<div class="text-choice">
    <div class="row tight">
      <span class="muted">${opened
        ? html`${plural(opened.symbols.length, "symbol")} of ${own ? html`${opened.source}` : "your text"}${own
        && opened.total > opened.symbols.length ? html`, from ${number(opened.first)} of ${number(opened.total)}` : ""}` : "…"}</span>
      ${own && opened && opened.total > opened.symbols.length && html`<span class="pair">
        <button type="button" class="small" disabled=${opened.first === 0} onClick=${() => turn(Math.max(0, opened.first - WINDOW))}>Earlier</button>
        <button type="button" class="small" disabled=${opened.first + opened.symbols.length >= opened.total}
          onClick=${() => turn(opened.first + WINDOW)}>Later</button></span>`}
      <button type="button" class="small" aria-expanded=${open} onClick=${() => setOpen(!open)}>${own ? "Use your own text" : "Change the text"}</button>
      ${!own && html`<button type="button" class="small" onClick=${() => setText("", { pos: -1, at: "" })}>Use the model’s own text</button>`}
    </div>
    ${open && html`<div class="stack">
      <label class="field"><span>Text</span>
        <textarea rows="5" data-text ref=${box} maxlength="200000" spellcheck=${false}>${text || (opened ? opened.symbols.join("") : "")}</textarea></label>
      <div class="row tight"><button type="button" class="main" onClick=${use}>Use it</button>
        <button type="button" onClick=${() => setOpen(false)}>Cancel</button></div>
    </div>`}
    ${opened?.notes.map((note) => html`<p class="note" key=${note}>${note}</p>`)}
  </div>`;
}

// The text that a screen measures: symbols of the model's own text, or the text of the linked cursor, which can be
// pasted. sizes: [symbols, their label]; view.on is "text" or "own", view.size one of the sizes. By default the text
// of the cursor is used if it is long enough to measure on.
const MEASURABLE = 1000;
export function sourceOf(view, text, sizes) {
  const size = sizes.find(([count]) => String(count) === view.size)?.[0] ?? sizes[0][0];
  const given = text && (view.on === "text" || (view.on !== "own" && text.length >= MEASURABLE));
  return given ? { text } : { part: { first: 0, length: size } };
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
      ${sizes.map(([count, said]) => html`
        <option key=${count} value=${count} selected=${source.part?.length === count}>the model’s validation part${said ? `, ${said}` : ""}</option>`)}
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
export function notYet({ data, error, busy }, waiting) {
  if (error) return html`<${Failure} error=${error} />`;
  if (!data) return waiting;
  return null;
}

// What an architecture is called; an n-gram is the one that is no network.
export const labelOf = (arch, info) => info.architectures[arch]?.label ?? "n-gram";

// The models side by side on a screen: view.with names them, joined by commas; else the chosen one and up to two
// more of the same vocabulary level, other architectures first.
export function sideBySide(view, info, most = 3, fits = () => true) {
  const there = (name) => info.models.find((one) => one.name === name);
  const named = (view.with ?? "").split(",").filter(there);
  if (named.length) return named.slice(0, 4);
  const chosen = there(view.model);
  if (!chosen) return [];
  const others = info.models.filter((one) => one.name !== chosen.name && one.level === chosen.level && fits(one));
  const kinds = new Set([chosen.arch]);
  const different = others.filter(({ arch }) => !kinds.has(arch) && kinds.add(arch));
  return [chosen, ...different].slice(0, most).map(({ name }) => name);
}

export function ModelChoice({ names, info, most = 4, onChange, fits = () => "" }) {
  return html`<fieldset class="models"><legend class="unseen">Models side by side</legend>
    ${info.models.map((one) => {
      const on = names.includes(one.name);
      const why = fits(one);
      return html`<label class="switch" key=${one.name} title=${why || one.brief}>
        <input type="checkbox" checked=${on} disabled=${Boolean(why) || (!on && names.length >= most) || (on && names.length === 1)}
        onChange=${() => onChange(on ? names.filter((name) => name !== one.name) : [...names, one.name])} />${one.name} <small>
          ${labelOf(one.arch, info)}</small></label>`;
    })}</fieldset>`;
}

export const COLOURS = ["--blue", "--orange", "--green", "--violet"];
// One colour for each kind of network on all screens; models of one kind take the next that is free.
export function coloursOf(names, info) {
  const taken = new Set();
  return names.map((name) => {
    const arch = info.models.find((one) => one.name === name)?.arch;
    const wanted = arch === "ngram" ? "--muted" : info.architectures[arch]?.colour;
    const colour = wanted && !taken.has(wanted) ? wanted : (COLOURS.find((one) => !taken.has(one)) ?? "--muted");
    taken.add(colour);
    return colour;
  });
}
