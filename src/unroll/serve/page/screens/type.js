// Type: what the model expects next, at every keystroke; what it expected at each symbol; which symbols surprised it.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { Bars, Sampler } from "../frame/bars.js";
import { css, entry, ink, table } from "../frame/colour.js";
import { bits, fixed, meanCost, number, symbolText } from "../frame/format.js";
import { useKeys } from "../frame/keys.js";
import { Failure, Figures, Panel, Waiting, useRequest } from "../frame/parts.js";
import { probe } from "../frame/probe.js";
import { DEFAULTS, drawIndex, optionsOf, reweigh, writtenAt } from "../frame/reweigh.js";
import { modelOf, textModel } from "../frame/screens.js";
import { useTheme } from "../frame/theme.js";
import { parse, useText } from "../frame/view.js";

const FULL = 8; // bits at which the underline is at its thickest
const points = (text, end) => Array.from(end === undefined ? text : text.slice(0, end)).length;

export default function Type({ view, go, api, info }) {
  const model = modelOf(view, info);
  const [text, setText] = useText(view, go, api);
  const [draft, setDraft] = useState(null); // the text in the box, ahead of the address
  const content = draft ?? text;
  const [caret, setCaret] = useState(null); // in code points; null is the end
  const [place, setPlace] = useState(view.pos >= 0 ? { at: view.pos + 1 } : null); // where the caret is put
  const options = optionsOf(view);
  const saveTimer = useRef(0);
  const hasEdited = useRef(false); // or is about to: a box with the focus is the user's

  // A first visit starts with a passage of the text that the model was validated on.
  useEffect(() => {
    const source = textModel(model, info);
    if (source && text === "" && !view.textid && draft === null) {
      api("passage", { model: source.name, length: 240 }).then(
        (passage) => hasEdited.current || setText(passage.text, { pos: -1 }),
        () => {},
      );
    }
  }, [model?.name]);
  // The address has caught up or has another text; that never replaces what is being typed.
  useEffect(() => {
    if (!saveTimer.current) setDraft(null);
  }, [text]);

  const change = (now, at) => {
    hasEdited.current = true;
    setDraft(now);
    setCaret(at);
    clearTimeout(saveTimer.current);
    saveTimer.current = setTimeout(() => {
      saveTimer.current = 0;
      // Unless the address has another text by now.
      const { text: textNow, textid } = parse(location.hash);
      if (textNow === view.text && textid === view.textid) setText(now, { pos: at === null || at >= points(now) ? -1 : at - 1 });
      else setDraft(null);
    }, 500);
  };

  const at = caret ?? (view.pos >= 0 ? view.pos + 1 : null);
  const reading = useReading(api, model, content, at);
  const { data, error } = reading;
  const insert = (symbol) => {
    const characters = Array.from(content);
    const from = at ?? characters.length;
    const to = from + Array.from(symbol).length;
    change([...characters.slice(0, from), symbol, ...characters.slice(from)].join(""), to);
    setPlace({ at: to });
  };
  const draw = () => {
    const next = data.next;
    insert(writtenAt(next, drawIndex(reweigh(next, options), Math.random())));
  };
  useKeys({ s: () => data && draw() }, { s: "draw the next symbol" });

  const [mean, unit] = data ? meanCost(model.level, data.nats, data.symbols) : [];
  const cost = data?.nats.reduce((sum, v) => sum + v, 0);
  const actual = data && data.place < data.count ? data.names[data.place] : null;
  if (data) probe("type",
    { model: model.name, version: data.version, text: content, place: data.place, symbols: data.symbols, nats: data.nats, guesses: data.guesses,
    next: data.next, weighed: reweigh(data.next, options) });
  return html`<div class="grid"><div class="w8 stack">
    <${Panel} title="Your text" aside=${html`<${Legend} />`}>
      ${content === null ? html`<${Waiting}>Fetching the text…<//>`
        : html`<${Editor} text=${content} data=${data} caret=${at} place=${place} onFocus=${() => { hasEdited.current = true; }} onChange=${change} onAccept=${() => data && insert(writtenAt(data.next, 0))} />`}
      ${error && html`<${Failure} error=${error} />`}
      ${data?.unknown.length > 0 && html`
        <p class="note">Never seen in training, read as unknown: ${data.unknown.map((symbol) => html`<span class="sym">${symbolText(symbol)} </span>`)}</p>`}
      ${data && html`<div class="row spread"><${Figures} of=${[
        ["symbols", number(data.count)],
        data.count > 0 && [unit, fixed(mean), "", "The mean surprisal of this text under the model"],
        data.count > 0 && ["perplexity", fixed(Math.exp(cost / data.count), 1)],
        data.count > 0 && ["total", fixed(bits(cost), 0), "bits"],
      ]} /><button type="button" onClick=${() => go({ screen: "sample" })}>Continue in Sample</button></div>`}
    <//>
    <${Panel} title="What it expected at each symbol" aside="a stronger blue is more probable; the ring marks the actual symbol">
      ${data && html`<${Guesses} data=${data} onPick=${(k) => { setCaret(offsetAt(data, k)); setPlace({ at: offsetAt(data, k) }); go({ pos: k - 1 }); }} />`}
    <//>
    </div>
    <${Panel} class="w4 next" title=${html`Next, after <span class="sym">${data ? tail(data) : ""}</span>`}>
      ${data ? html`
        <${Bars} next=${data.next} options=${options} actual=${actual} onPick=${insert} />
        <${Figures} of=${[["entropy", fixed(bits(data.next.entropy)), "bits"],
          actual !== null && ["actual", html`<span class="sym">${symbolText(actual)}</span>`, `rank ${rank(data.next, actual)}`]]} />
        <div class="row"><button type="button" class="main" onClick=${draw}>Sample one</button>
          <button type="button" onClick=${() => insert(writtenAt(data.next, 0))}>Take the most probable</button></div>
        <${Sampler} options=${options} go=${go} />
        ${JSON.stringify(options) !== JSON.stringify(DEFAULTS) && html`
          <button type="button" class="quiet" onClick=${() => go({ t: null, k: null, p: null, m: null }, { quiet: true })}>Reset the sampler</button>`}
      ` : html`<${Waiting}>Reading…<//>`}
    <//>
  </div>`;
}

const tail = (data) => visibleText(data.symbols.slice(Math.max(0, data.place - 16), data.place).join(""));
const visibleText = (text) => Array.from(text).map((c) => (c === " " ? " " : symbolText(c))).join("").replace(/ {3,}/g, " ⋯ ").trimStart() || "the start";
const rank = (next, symbol) => { const k = next.symbols.indexOf(symbol); return k < 0 ? "–" : k + 1; };
const offsetAt = (data, k) => data.symbols.slice(0, k).reduce((sum, symbol) => sum + points(symbol), 0);

// Reads the text as it is typed; the beginning shared with the previous text is not requested again.
function useReading(api, model, content, at) {
  const previous = useRef({ key: "", symbols: [], names: [], nats: [], guesses: [] });
  const key = model ? `${model.name} ${model.version}` : "";
  const request = useRequest(model && content !== null ? JSON.stringify([key, content, at]) : null, async (signal) => {
    const before = previous.current;
    let since = 0;
    if (before.key === key && model.level === "char") {
      const now = Array.from(content);
      while (since < now.length && since < before.symbols.length && now[since] === before.symbols[since]) since += 1;
    }
    const answer = await api("read", { model: model.name, text: content, since, at }, { signal });
    const join = (name) => [...before[name].slice(0, answer.since), ...answer[name]];
    if (answer.since > before.symbols.length) return before;
    const reading = { ...answer, key, symbols: join("symbols"), names: join("names"), nats: join("nats"), guesses: join("guesses") };
    previous.current = reading;
    return reading;
  }, 30);
  return request;
}

// The text in a box that grows, over a sheet that underlines surprising symbols.
function Editor({ text, data, caret, place, onFocus, onChange, onAccept }) {
  const box = useRef(null);
  const sheet = useRef(null);
  const theme = useTheme();
  useLayoutEffect(() => {
    box.current.style.height = "auto";
    box.current.style.height = `${box.current.scrollHeight}px`;
  }, [text]);
  // An inserted symbol moves the caret along; a selection is left alone.
  useLayoutEffect(() => {
    if (!place) return;
    const units = Array.from(text).slice(0, place.at).join("").length;
    box.current.setSelectionRange(units, units);
  }, [place]);
  useLayoutEffect(() => {
    const fragment = document.createDocumentFragment();
    let prefix = "";
    for (const [k, symbol] of (data?.symbols ?? []).entries()) {
      // Only as far as the reading agrees with the typed text.
      if (!text.startsWith(symbol, prefix.length)) break;
      prefix += symbol;
      const element = document.createElement("span");
      element.textContent = symbol;
      const surprise = bits(data.nats[k]);
      const depth = Math.min(1, surprise / FULL);
      element.style.boxShadow = `inset 0 -${(1 + 5 * depth).toFixed(1)}px 0 ${css(table("orange", theme)[entry("orange", depth)])}`;
      element.title = `${symbolText(symbol)}: ${fixed(surprise)} bits`;
      fragment.append(element);
    }
    fragment.append(text.slice(prefix.length), "\u200b");
    sheet.current.replaceChildren(fragment);
  }, [data, text, theme]);
  const onInput = (event) => onChange(event.target.value, points(event.target.value, event.target.selectionStart));
  const onSelect = (event) => {
    if (document.activeElement === event.target && points(event.target.value, event.target.selectionStart) !== caret) onInput(event);
  };
  const onKey = (event) => {
    if (event.key === "Tab" && !event.shiftKey && text && event.target.selectionStart === text.length && event.altKey) {
      event.preventDefault();
      onAccept();
    }
  };
  return html`<div class="editor">
    <div class="sheet" ref=${sheet} aria-hidden="true"></div>
    <textarea ref=${box} data-text value=${text} spellcheck="false" autocapitalize="off" autocomplete="off" rows="3" aria-label="Text that the model reads"
      onFocus=${onFocus} onInput=${onInput} onKeyDown=${onKey}
      onSelect=${onSelect}></textarea>
  </div>`;
}

const Legend = () => html`<span class="scale"><span>expected</span><i class="ramp orange"></i><span>surprising, ${FULL} bits and more</span></span>`;

// The last symbols before the cursor, each above the five most probable at its position.
function Guesses({ data, onPick }) {
  const box = useRef(null);
  const [columns, setColumns] = useState(40);
  const theme = useTheme();
  useLayoutEffect(() => {
    const measure = () => setColumns(Math.max(8, Math.floor(box.current.clientWidth / 24)));
    const observer = new ResizeObserver(measure);
    observer.observe(box.current);
    measure();
    return () => observer.disconnect();
  }, []);
  const end = Math.min(data.count, Math.max(columns, data.place + 4));
  const positions = useMemo(() => Array.from({ length: Math.min(columns, end) }, (_, k) => end - Math.min(columns, end) + k), [columns, end]);
  const blues = table("blue", theme);
  return html`<div class="guesses" ref=${box}>
    ${!positions.length && html`<p class="note">Type something.</p>`}
    ${positions.map((k) => html`<button type="button" class=${`guess ${k === data.place ? "here" : ""}`} key=${k} onClick=${() => onPick(k)}
      aria-label=${`${symbolText(data.names[k])}, ${fixed(bits(data.nats[k]))} bits; expected ${data.guesses[k]?.map(([symbol]) => symbolText(symbol)).join(", ")}`}>
      <b class="sym">${symbolText(data.names[k])}</b>
      ${data.guesses[k]?.map(([symbol, p]) => {
        const colour = blues[entry("blue", Math.sqrt(p))];
        return html`<span class=${`sym ${symbol === data.names[k] ? "hit" : ""}`} title=${`${symbolText(symbol)}: ${(100 * p).toFixed(1)} %`}
          style=${{ backgroundColor: css(colour), color: ink(colour) }}>${symbolText(symbol)}</span>`;
      })}
    </button>`)}
  </div>`;
}
