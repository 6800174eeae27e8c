// Unrolled: the textbook diagram, live on your own sentence, for two or three networks below each other.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { bits, fixed, plural, shown as named } from "../frame/format.js";
import { useKeys } from "../frame/keys.js";
import { announce } from "../frame/live.js";
import { Choice, Failure, Panel, Table, Waiting, useAsked } from "../frame/parts.js";
import { probe } from "../frame/probe.js";
import { calm } from "../frame/theme.js";
import { useText } from "../frame/view.js";
import { size } from "../inside/figures.js";
import { ModelChoice, coloursOf, labelOf, sideBySide } from "../inside/opened.js";
import { River, listed, reachText, stepText } from "../inside/river.js";

const LONGEST = 64;
const SHORT = { char: 16, byte: 16, bpe: 14, word: 10 };
const BEAT = 420;

// A piece from the beginning of a line, as long as can be seen at once, that ends where a word does.
export function opening(symbols, level) {
  const most = SHORT[level] ?? 20;
  const start = symbols.slice(0, 120).findIndex(
    (symbol, k) => k > 0 && /\n/.test(symbols[k - 1]) && /[^\s]/.test(symbol) && symbols.slice(k, k + most).every((one) => !/\n/.test(one)));
  const piece = symbols.slice(Math.max(0, start), Math.max(0, start) + most);
  const end = level === "word" ? most : piece.findLastIndex((symbol) => /^\s|\s$/.test(symbol));
  return piece.slice(0, end > most / 2 ? end : most).join("").replace(/\n/g, " ").trimEnd();
}

export default function Unrolled({ view, go, api, info }) {
  const model = info.models.find(({ name }) => name === view.model);
  const names = sideBySide(view, info, 2, ({ arch }) => arch !== "ngram");
  const given = view.line ?? "";
  const [text] = useText(view, go, api);
  // A sentence that was typed here, else the text of the other screens or its beginning, else of the model's own.
  const own = useAsked(given || text || text === null || !view.model ? null : view.model, (signal) =>
    api("inside/open", { model: view.model, part: { first: 0, length: 200 } }, { signal }).then(({ symbols, level }) => opening(symbols, level)));
  const line = given || (text
    ? (text.length <= LONGEST ? text
    : opening(model?.level === "word" ? text.slice(0, 2000).split(/(?<=\s)/) : [...text.slice(0, 400)], model?.level)) : own.data) || "";
  const asked = useAsked(line && names.length ? JSON.stringify([names, line]) : null,
    (signal) => api("inside/unrolled", { models: names, text: line }, { signal }), 250);
  const typed = (event) => go({ line: event.target.value, pos: -1 }, { quiet: true });
  return html`<div class="stack unrolled">
    <div class="panel stack">
      <label class="field"><span>Your sentence, at most ${LONGEST} symbols</span>
        <input type="text" class="sentence" data-text maxlength=${LONGEST} value=${line} spellcheck=${false} autocomplete="off" onInput=${typed} /></label>
      <${ModelChoice} names=${names} info=${info} most=${3} onChange=${(next) => go({ with: next.join(",") }, { quiet: true })}
        fits=${(one) => (one.arch === "ngram" ? "an n-gram has no state and no gradient" : "")} />
    </div>
    ${own.error && html`<${Failure} error=${own.error} />`}
    ${asked.error && html`<${Failure} error=${asked.error} />`}
    ${asked.data ? html`<${Drawn} models=${asked.data.models} view=${view} go=${go} info=${info} />` : !asked.error && !own.error
      && html`<${Waiting}>Reading the sentence…<//>`}
    ${model?.level === "word" && html`<p class="note">The symbols of this model are words.</p>`}
  </div>`;
}

function Drawn({ models, view, go, info }) {
  const there = models.filter(({ error }) => !error);
  const count = Math.max(0, ...there.map(({ symbols }) => symbols.length));
  const t = view.pos >= 0 ? Math.min(view.pos, count - 1) : count - 1;
  const [kind, setKind] = useState("state");
  const [log, setLog] = useState(false);
  const [upto, setUpto] = useState(Infinity);
  const playing = upto < count - 1;
  const boxes = useRef(new Map());
  const around = useRef(null);
  const [room, setRoom] = useState(0);
  useEffect(() => {
    const resized = new ResizeObserver(([{ contentRect }]) => setRoom(Math.floor(contentRect.width) - 34));
    resized.observe(around.current);
    return () => resized.disconnect();
  }, []);

  useEffect(() => {
    if (!playing) return;
    const timer = setTimeout(() => {
      setUpto(upto + 1 >= count - 1 ? Infinity : upto + 1);
      go({ pos: Math.min(count - 1, upto + 1) });
    }, BEAT);
    return () => clearTimeout(timer);
  }, [upto, count]);
  const play = () => {
    if (playing) return setUpto(Infinity);
    if (calm()) return announce("motion is reduced on this system: use the arrow keys");
    go({ pos: 0 });
    setUpto(0);
  };
  const move = (to) => {
    setUpto(Infinity);
    const next = Math.min(count - 1, Math.max(0, to));
    go({ pos: next });
    announce(there.map((made) =>
      `${made.model}: ${stepText(made, Math.min(next, made.symbols.length - 1))}; ${reachText(made, Math.min(next, made.symbols.length - 1),
      kind)}`).join(". "));
  };
  useKeys(
    { ArrowLeft: () => move(t - 1), ArrowRight: () => move(t + 1), Home: () => move(0), End: () => move(count - 1), " ": play },
    { "← →": "choose the loss that flows back", space: "read the sentence step by step" },
  );
  // The diagrams are moved together, and the chosen step is kept in sight.
  const together = (event) => {
    for (const box of boxes.current.values()) if (
      box && box !== event.target && Math.abs(box.scrollLeft - event.target.scrollLeft) > 1) box.scrollLeft = event.target.scrollLeft;
  };
  useEffect(() => {
    for (const box of boxes.current.values()) {
      const chosen = box?.querySelector(".step.chosen .hit");
      if (!chosen) continue;
      const [left, right] = [Number(chosen.getAttribute("x")), Number(chosen.getAttribute("x")) + Number(chosen.getAttribute("width"))];
      if (t === count - 1) box.scrollLeft = box.scrollWidth;
      else if (left < box.scrollLeft + 74) box.scrollLeft = left - 90;
      else if (right > box.scrollLeft + box.clientWidth) box.scrollLeft = right - box.clientWidth + 20;
    }
  }, [t, models, room]);

  const colours = coloursOf(models.map(({ model }) => model), info);
  const sizes = (made) => (made.flow[kind] ?? made.flow.x)[Math.min(t, made.symbols.length - 1)];
  const most = Math.max(0, ...there.flatMap(sizes).filter(Number.isFinite));
  const most_nats = Math.max(1, ...there.flatMap(({ nats }) => nats));
  useEffect(() => probe("unrolled",
    { t, kind, upto, models: there.map(({ model, nats, total_nats, flow, symbols }) => ({ model, nats, total_nats, flow, symbols })) }));

  return html`
    <div class="panel bar row" ref=${around}>
      <button type="button" class="main" onClick=${play}>${playing ? "Stop" : "Read it step by step"}</button>
      <${StepOf} t=${t} count=${count} symbols=${there[0]?.symbols ?? []} move=${move} />
      <span class="grow"></span>
      <span class="labelled">gradient by <${Choice} label="Gradient by" value=${kind}
        options=${[["state", "the whole state"], ["h", "h"], ["c", "c", there.some(({ flow }) => flow.c) ? undefined : "only LSTMs have a cell c"],
        ["x", "the inputs"]]} onChange=${setKind} /></span>
      <span class="labelled">width <${Choice} label="Width of the stream" value=${log} options=${[[false, "linear"], [true, "logarithmic"]]}
        onChange=${setLog} /></span>
    </div>
    ${models.map((made, k) => html`
      <${One} key=${made.model} made=${made} label=${labelOf(made.arch, info)} colour=${colours[k]} t=${t} kind=${kind} most=${most} log=${log}
      upto=${upto} most_nats=${most_nats} room=${room} move=${move} box=${(element) => boxes.current.set(made.model, element)} onScroll=${together} />`)}
    <p class="note">Each step reads a symbol, updates the state, predicts the next symbol and pays −log₂ p bits for the actual one.
      Training minimises the sum of these losses. The stream is the gradient of one loss by the state after each earlier step,
      ‖∂L/∂s‖, computed exactly in float64; its widest point is ${size(most)}, and all diagrams share this scale${log
        ? `; half the width is a thousandth (six powers of ten in total)`
        : ""}. Inputs are tinted by the gradient that reaches them. The units drawn are those of the last layer that vary most.</p>`;
}

function StepOf({ t, count, symbols, move }) {
  return html`<span class="steps" role="group" aria-label="The loss that flows back"><span class="muted">loss of step</span>
    <button type="button" class="small" disabled=${t <= 0} aria-label="one step earlier" onClick=${() => move(t - 1)}>−</button><b class="number">${t}</b>
    <button type="button" class="small" disabled=${t >= count - 1} aria-label="one step later" onClick=${() => move(t + 1)}>+</button>
    <span class="muted">prediction of <b class="sym">${named(symbols[t] ?? "")}</b></span></span>`;
}

function One({ made, label, colour, t: wanted, kind, most, log, upto, most_nats: nats, room, move, box, onScroll }) {
  const [asTable, setAsTable] = useState(false);
  if (made.error) return html`<${Panel} title=${made.model}><${Failure} error=${made.error} /><//>`;
  const t = Math.min(wanted, made.symbols.length - 1);
  const summary = useMemo(() => summaryOf(made, label, t, kind), [made, t, kind]);
  const title = html`<i class="dot" style=${{ background: `var(${colour})` }}></i>${made.model} <small>${label}</small>`;
  return html`<${Panel} title=${title} label=${made.model}
    aside=${html`${reachText(made, t, kind)} · <b>${fixed(bits(made.total_nats), 1)} bits</b> for ${plural(made.symbols.length, "symbol")}`}>
    ${made.notes?.map((note) => html`<p class="note" key=${note}>${note}</p>`)}
    <div class="river-box" ref=${box} onScroll=${onScroll} tabindex="0" aria-label=${`${made.model}, unrolled: scrolls sideways`}>
      <${River} made=${made} t=${t} kind=${kind} most=${most} log=${log} upto=${upto} most_nats=${nats} room=${room} onPick=${move} summary=${summary} /></div>
    <button type="button" class="quiet" aria-expanded=${asTable} onClick=${() => setAsTable(!asTable)}>${asTable ? "Hide the table" : "Show as table"}</button>
    ${asTable && html`<${Table} caption=${summary} page=${64} rows=${made.symbols.map((_, k) => k)} columns=${[
      ["step", (k) => k, "number"], ["reads", (k) => html`<span class="sym">${k ? named(made.symbols[k - 1]) : "start"}</span>`],
      ["predictions", (k) => html`<span class="sym">${listed(made, k).map(({ symbol, p }) => `${named(symbol)} ${fixed(p)}`).join("  ")}</span>`],
      ["actual", (k) => html`<span class="sym">${named(made.symbols[k])}</span>`], ["loss, bits", (k) => fixed(bits(made.nats[k]), 3), "number"],
      [`∂L of step ${t}`, (k) => (k <= t ? size((made.flow[kind] ?? made.flow.x)[t][k], Boolean(made.window)) : ""), "number"],
    ]} />`}
  <//>`;
}

function summaryOf(made, label, t, kind) {
  return `${label} ${made.model} unrolled over ${plural(made.symbols.length, "symbol")}: ${fixed(bits(made.total_nats), 1)} bits in total. ${stepText(
    made, t)}; ${reachText(made, t, kind)}.`;
}
