// The controls and panels that all screens share.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { announce } from "./live.js";

// A framed section of a screen, with a title and an aside.
export function Panel({ title, aside, children, class: kind = "", label }) {
  return html`<section class=${`panel ${kind}`} aria-label=${label ?? (typeof title === "string" ? title : undefined)}>
    ${title && html`<header><h2>${title}</h2>${aside && html`<div class="aside">${aside}</div>`}</header>`}
    ${children}
  </section>`;
}

// One of a few options: [value, text, the reason if it cannot be chosen].
export function Choice({ label, value, options, onChange, hidden = true }) {
  return html`<fieldset class="choice">
    <legend class=${hidden ? "unseen" : ""}>${label}</legend>
    ${options.map(([option, text, why]) => html`<label title=${why} class=${why ? "off" : ""} key=${option}>
      <input type="radio" name=${label} value=${option} checked=${option === value} disabled=${Boolean(why)}
        onChange=${() => onChange(option)} /><span>${text}</span></label>`)}
  </fieldset>`;
}

let sliderCount = 0;

export function Slider({ label, value, min, max, step, text, onInput, hint }) {
  const id = useRef(null);
  id.current ??= `slider-${(sliderCount += 1)}`;
  return html`<div class="slider" title=${hint}>
    <label for=${id.current}>${label}</label><output for=${id.current}>${text ?? value}</output>
    <input id=${id.current} type="range" min=${min} max=${max} step=${step} value=${value} aria-valuetext=${text}
      onInput=${(event) => onInput(Number(event.target.value))} />
  </div>`;
}

export function Field({ label, children, hint, class: kind = "" }) {
  return html`<label class=${`field ${kind}`}><span>${label}</span>${children}${hint && html`<small>${hint}</small>`}</label>`;
}

// Calls retry() once the server answers again after an error in reaching it.
export function useReturn(error, retry) {
  useEffect(() => {
    if (error?.status !== 0) return undefined;
    addEventListener("answering", retry);
    return () => removeEventListener("answering", retry);
  }, [error]);
}

// A message with its commands, which stand in backticks, as code.
export const withCode = (message) => message.split(/`([^`]+)`/).map((part, k) => (k % 2 ? html`<code>${part}</code>` : part));

// An error as the server explains it: what is wrong, what is allowed, how to fix it.
export function Failure({ error, retry }) {
  useEffect(() => announce(error.message), [error]);
  return html`<div class="failure" role="alert">
    <p><strong>${withCode(error.message)}</strong></p>
    ${error.allowed && html`<p>Allowed: ${withCode(error.allowed)}.</p>`}
    ${error.fix && html`<p>To fix it: ${withCode(error.fix)}.</p>`}
    ${retry && html`<button type="button" onClick=${retry}>Try again</button>`}
  </div>`;
}

export const Waiting = ({ children }) => html`<p class="waiting"><span class="pulse" aria-hidden="true"></span>${children}</p>`;

// `what` completes the name for screen readers: there may be several such buttons.
export function Copy({ text, what, label = "Copy" }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    announce("copied");
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button type="button" class="small" aria-label=${`${done ? "Copied" : label} ${what}`} onClick=${copy}>${done ? "Copied" : label}</button>`;
}

// Shows or hides the numbers of a picture; `of` completes its name for screen readers.
export const TableButton = ({ shown, of, onClick }) => html`<button type="button" class="quiet" aria-expanded=${shown} onClick=${onClick}
  aria-label=${`${shown ? "Hide the table" : "Show as table"}: ${of}`}>${shown ? "Hide the table" : "Show as table"}</button>`;

// Figures with their names.
export const Figures = ({ of }) => html`<dl class="figures">
  ${of.filter(Boolean).map(
    ([name, value, unit, title]) => html`<div key=${name} title=${title}><dt>${name}</dt><dd>${value}${unit && html`<small> ${unit}</small>`}</dd></div>`)}
</dl>`;

// A table, a page of rows at a time: columns are [title, row => content, "number" for the right].
export function Table({ columns, rows, page = 25, caption, class: kind }) {
  const [first, setFirst] = useState(0);
  const start = Math.min(first, Math.max(0, rows.length - 1) - (Math.max(0, rows.length - 1) % page));
  return html`<div class="table">
    <table class=${kind}>
      ${caption && html`<caption class="unseen">${caption}</caption>`}
      <thead><tr>${columns.map(([title, , kind]) => html`<th scope="col" class=${kind}>${title}</th>`)}</tr></thead>
      <tbody>${rows.slice(start, start + page).map(
        (row, k) => html`<tr key=${start + k}>${columns.map(([, cell, kind]) => html`<td class=${kind}>${cell(row, start + k)}</td>`)}</tr>`)}</tbody>
    </table>
    ${rows.length > page && html`<div class="pages">
      <button type="button" class="small" disabled=${start === 0} onClick=${() => setFirst(start - page)}>Earlier</button>
      <span>${start + 1}–${Math.min(rows.length, start + page)} of ${rows.length}</span>
      <button type="button" class="small" disabled=${start + page >= rows.length} onClick=${() => setFirst(start + page)}>Later</button>
    </div>`}
  </div>`;
}

// Sends a request whenever `key` changes, and aborts the one before: {data, error, busy}; the last data stays until new
// data arrives. It first waits `wait` milliseconds, so that a burst of changes makes one request.
export function useRequest(key, ask, wait = 0) {
  const [answer, setAnswer] = useState({ data: null, error: null, busy: false });
  const [attempt, setAttempt] = useState(0);
  useReturn(answer.error, () => setAttempt((before) => before + 1));
  const latest = useRef(ask);
  latest.current = ask;
  useEffect(() => {
    if (key === null) return setAnswer({ data: null, error: null, busy: false });
    const stop = new AbortController();
    const timer = setTimeout(() => {
      setAnswer((before) => ({ ...before, busy: true }));
      latest.current(stop.signal).then(
        (data) => stop.signal.aborted || setAnswer({ data, error: null, busy: false }),
        (error) => stop.signal.aborted || setAnswer((before) => ({ ...before, error, busy: false })),
      );
    }, wait);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [key, attempt]);
  return answer;
}
