// Unrolled: the textbook diagram, live on your own sentence, for two or three networks below each other.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { bits, fixed, plural, symbolText } from "../frame/format.js";
import { useKeys } from "../frame/keys.js";
import { announce } from "../frame/live.js";
import { Choice, Failure, Panel, Table, TableButton, Waiting, useRequest } from "../frame/parts.js";
import { NoNetwork } from "../frame/missing.js";
import { probe } from "../frame/probe.js";
import { isNetwork } from "../frame/screens.js";
import { reducedMotion } from "../frame/theme.js";
import { useText } from "../frame/view.js";
import { size } from "../inside/figures.js";
import { ModelChoice, coloursOf, labelOf, sideBySide } from "../inside/trace.js";
import { River, guessesAt, reachText, stepText } from "../inside/river.js";

const LONGEST = 64;
const SHORT = { char: 16, byte: 16, bpe: 14, word: 10 };
const BEAT = 420;

// A piece from the beginning of a line that fits on the screen and ends with a word.
export function opening(symbols, level) {
  const most = SHORT[level] ?? 20;
  const start = symbols.slice(0, 120).findIndex(
    (symbol, k) => k > 0 && /\n/.test(symbols[k - 1]) && /[^\s]/.test(symbol) && symbols.slice(k, k + most).every((one) => !/\n/.test(one)));
  const piece = symbols.slice(Math.max(0, start), Math.max(0, start) + most);
  const end = level === "word" ? most : piece.findLastIndex((symbol) => /^\s|\s$/.test(symbol));
  return piece.slice(0, end > most / 2 ? end : most).join("").replace(/\n/g, " ").trimEnd();
}

export default function Unrolled({ view, go, api, info }) {
  const names = sideBySide(view, info, 2, isNetwork);
  const model = info.models.find(({ name }) => name === names[0]);
  const typedLine = view.line ?? "";
  const [text] = useText(view, go, api);
  // A sentence that was typed here, else the text of the other screens or its beginning, else of the model's own.
  const modelLine = useRequest(typedLine || text || text === null || !model ? null : model.name, (signal) =>
    api("inside/open", { model: model.name, part: { first: 0, length: 200 } }, { signal }).then(({ symbols, level }) => opening(symbols, level)));
  const line = typedLine || (text
    ? (text.length <= LONGEST ? text
    : opening(model?.level === "word" ? text.slice(0, 2000).split(/(?<=\s)/) : [...text.slice(0, 400)], model?.level)) : modelLine.data) || "";
  const request = useRequest(line && names.length ? JSON.stringify([names, line]) : null,
    (signal) => api("inside/unrolled", { models: names, text: line }, { signal }), 250);
  const onInput = (event) => go({ line: event.target.value, pos: -1 }, { quiet: true });
  if (!model) return html`<${NoNetwork} view=${view} info=${info} go=${go} />`;
  return html`<div class="stack unrolled">
    <div class="panel stack">
      <label class="field"><span>Your sentence, at most ${LONGEST} symbols</span>
        <input type="text" class="sentence" data-text maxlength=${LONGEST} value=${line} spellcheck=${false} autocomplete="off" onInput=${onInput} /></label>
      <${ModelChoice} names=${names} info=${info} most=${3} onChange=${(next) => go({ with: next.join(",") }, { quiet: true })}
        fits=${(other) => (isNetwork(other) ? "" : "an n-gram has no state and no gradient")} />
      ${view.model !== model.name && !names.includes(view.model) && html`<p class="note">${view.model} is not shown: ${isNetwork(
        info.models.find(({ name }) => name === view.model)) ? "choose it above" : "an n-gram has no state and no gradient"}.</p>`}
    </div>
    ${modelLine.error && html`<${Failure} error=${modelLine.error} />`}
    ${request.error && html`<${Failure} error=${request.error} />`}
    ${request.data ? html`<${Diagrams} models=${request.data.models} view=${view} go=${go} info=${info} />` : !request.error && !modelLine.error
      && html`<${Waiting}>Reading the sentence…<//>`}
    ${model?.level === "word" && html`<p class="note">The symbols of this model are words.</p>`}
  </div>`;
}

function Diagrams({ models, view, go, info }) {
  const networks = models.filter(({ error }) => !error);
  const count = Math.max(0, ...networks.map(({ symbols }) => symbols.length));
  const t = view.pos >= 0 ? Math.min(view.pos, count - 1) : count - 1;
  const [kind, setKind] = useState("state");
  const [log, setLog] = useState(false);
  const [upto, setUpto] = useState(Infinity);
  const playing = upto < count - 1;
  const boxes = useRef(new Map());
  const around = useRef(null);
  const [room, setRoom] = useState(0);
  useEffect(() => {
    const observer = new ResizeObserver(([{ contentRect }]) => setRoom(Math.floor(contentRect.width) - 34));
    observer.observe(around.current);
    return () => observer.disconnect();
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
    if (reducedMotion()) return announce("motion is reduced on this system: use the arrow keys");
    go({ pos: 0 });
    setUpto(0);
  };
  const move = (to) => {
    setUpto(Infinity);
    const next = Math.min(count - 1, Math.max(0, to));
    go({ pos: next });
    announce(networks.map((network) =>
      `${network.model}: ${stepText(network, Math.min(next, network.symbols.length - 1))}; ${reachText(network, Math.min(next, network.symbols.length - 1),
      kind)}`).join(". "));
  };
  useKeys(
    { ArrowLeft: () => move(t - 1), ArrowRight: () => move(t + 1), Home: () => move(0), End: () => move(count - 1), " ": play },
    { "← →": "choose the loss that flows back", space: "read the sentence step by step" },
  );
  // The diagrams scroll together, and the chosen step stays in sight.
  const scrollTogether = (event) => {
    for (const box of boxes.current.values()) if (
      box && box !== event.target && Math.abs(box.scrollLeft - event.target.scrollLeft) > 1) box.scrollLeft = event.target.scrollLeft;
  };
  useEffect(() => {
    for (const box of boxes.current.values()) {
      const hitBox = box?.querySelector(".step.chosen .hit");
      if (!hitBox) continue;
      const [left, right] = [Number(hitBox.getAttribute("x")), Number(hitBox.getAttribute("x")) + Number(hitBox.getAttribute("width"))];
      if (t === count - 1) box.scrollLeft = box.scrollWidth;
      else if (left < box.scrollLeft + 74) box.scrollLeft = left - 90;
      else if (right > box.scrollLeft + box.clientWidth) box.scrollLeft = right - box.clientWidth + 20;
    }
  }, [t, models, room]);

  const colours = coloursOf(models.map(({ model }) => model), info);
  const sizes = (network) => (network.flow[kind] ?? network.flow.x)[Math.min(t, network.symbols.length - 1)];
  const most = Math.max(0, ...networks.flatMap(sizes).filter(Number.isFinite));
  const most_nats = Math.max(1, ...networks.flatMap(({ nats }) => nats));
  useEffect(() => probe("unrolled",
    { t, kind, upto, models: networks.map(({ model, nats, total_nats, flow, symbols }) => ({ model, nats, total_nats, flow, symbols })) }));

  return html`
    <div class="panel bar row" ref=${around}>
      <button type="button" class="main" onClick=${play}>${playing ? "Stop" : "Read it step by step"}</button>
      <${StepOf} t=${t} count=${count} symbols=${networks[0]?.symbols ?? []} move=${move} />
      <span class="grow"></span>
      <span class="labelled">gradient by <${Choice} label="Gradient by" value=${kind}
        options=${[["state", "the whole state"], ["h", "h"], ["c", "c", networks.some(({ flow }) => flow.c) ? undefined : "only LSTMs have a cell c"],
        ["x", "the inputs"]]} onChange=${setKind} /></span>
      <span class="labelled">width <${Choice} label="Width of the stream" value=${log} options=${[[false, "linear"], [true, "logarithmic"]]}
        onChange=${setLog} /></span>
    </div>
    ${models.map((network, k) => html`
      <${Diagram} key=${network.model} network=${network} label=${labelOf(network.arch, info)} colour=${colours[k]} t=${t} kind=${kind} most=${most} log=${log}
      upto=${upto} most_nats=${most_nats} room=${room} move=${move} box=${(element) => boxes.current.set(network.model, element)} onScroll=${scrollTogether} />`)}
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
    <span class="muted">prediction of <b class="sym">${symbolText(symbols[t] ?? "")}</b></span></span>`;
}

function Diagram({ network, label, colour, t: chosenStep, kind, most, log, upto, most_nats: nats, room, move, box, onScroll }) {
  const [asTable, setAsTable] = useState(false);
  if (network.error) return html`<${Panel} title=${network.model}><${Failure} error=${network.error} /><//>`;
  const t = Math.min(chosenStep, network.symbols.length - 1);
  const summary = useMemo(() => summaryOf(network, label, t, kind), [network, t, kind]);
  const title = html`<i class="dot" style=${{ background: `var(${colour})` }}></i>${network.model} <small>${label}</small>`;
  return html`<${Panel} title=${title} label=${network.model}
    aside=${html`${reachText(network, t, kind)} · <b>${fixed(bits(network.total_nats), 1)} bits</b> for ${plural(network.symbols.length, "symbol")}`}>
    ${network.notes?.map((note) => html`<p class="note" key=${note}>${note}</p>`)}
    <div class="river-box" ref=${box} onScroll=${onScroll} tabindex="0" aria-label=${`${network.model}, unrolled: scrolls sideways`}>
      <${River} network=${network} t=${t} kind=${kind} most=${most} log=${log} upto=${upto} most_nats=${nats} room=${room} onPick=${move} summary=${summary} /></div>
    <${TableButton} shown=${asTable} of=${network.model} onClick=${() => setAsTable(!asTable)} />
    ${asTable && html`<${Table} caption=${summary} page=${64} rows=${network.symbols.map((_, k) => k)} columns=${[
      ["step", (k) => k, "number"], ["reads", (k) => html`<span class="sym">${k ? symbolText(network.symbols[k - 1]) : "start"}</span>`],
      ["predictions", (k) => html`<span class="sym">${guessesAt(network, k).map(({ symbol, p }) => `${symbolText(symbol)} ${fixed(p)}`).join("  ")}</span>`],
      ["actual", (k) => html`<span class="sym">${symbolText(network.symbols[k])}</span>`], ["loss, bits", (k) => fixed(bits(network.nats[k]), 3), "number"],
      [`∂L of step ${t}`, (k) => (k <= t ? size((network.flow[kind] ?? network.flow.x)[t][k], Boolean(network.window)) : ""), "number"],
    ]} />`}
  <//>`;
}

function summaryOf(network, label, t, kind) {
  return `${label} ${network.model} unrolled over ${plural(network.symbols.length, "symbol")}: ${fixed(bits(network.total_nats), 1)} bits in total. ${stepText(
    network, t)}; ${reachText(network, t, kind)}.`;
}
