// Compare: two models on one text: the difference per symbol, in sum, and where it is largest.
import { html, useEffect, useMemo, useState } from "../vendor/preact.js";
import { Chart } from "../frame/chart.js";
import { paint } from "../frame/colour.js";
import { bits, fixed, number, symbolText, signed } from "../frame/format.js";
import { useKeys } from "../frame/keys.js";
import { Failure, Field, Figures, Panel, Table, Waiting, useRequest } from "../frame/parts.js";
import { Passage } from "../frame/passage.js";
import { probe } from "../frame/probe.js";
import { isNetwork, modelOf } from "../frame/screens.js";
import { useText } from "../frame/view.js";

const FULL = 4; // bits of difference at which a colour is full

export default function Compare({ view, go, api, info }) {
  const model = modelOf(view, info);
  const candidates = info.models.filter(({ name }) => name !== view.model);
  const against = candidates.find(({ name }) => name === view.against);
  const [text, setText] = useText(view, go, api);
  const [draft, setDraft] = useState(null);

  useEffect(() => {
    if (!model) return;
    if (!against && candidates.length) go({ against: candidates[0].name }, { quiet: true });
    const source = [model, ...(against ? [against] : []), ...info.models].find(isNetwork);
    if (text === "" && !view.textid && source) api("passage", { model: source.name, length: 700 }).then((passage) => setText(passage.text, { pos: -1 }), () => {});
  }, [model?.name, view.against]);

  const key = model && against && text ? JSON.stringify([model.name, model.version, against.name, against.version, text]) : null;
  const { data, error, busy } = useRequest(key, (signal) => api("compare", { a: model.name, b: against.name, text }, { signal }), 120);
  if (!candidates.length) {
    return html`<${Panel} title="One model is not enough"><p>Comparing takes two models. Train another one, with another size or network;
        or press “Keep a copy” on the Train screen, and compare that copy with the model as it trains on.</p>
      <p class="row"><button type="button" class="main" onClick=${() => go({ screen: "train" })}>Go to Train</button></p><//>`;
  }
  const edit = () => setDraft(text);
  const done = () => {
    setText(draft, { pos: -1 });
    setDraft(null);
  };
  return html`<div class="grid">
    <div class="w8 stack">
      <${Panel} title="The text"
        aside=${draft === null
        ? html`<${Scale} a=${model.name} b=${against?.name} /><button type="button" class="small" onClick=${edit}>Edit</button>`
        : html`<button type="button" class="small" onClick=${done}>Done</button>`}>
        ${draft !== null ? html`
          <textarea data-text rows="12" value=${draft} spellcheck="false" aria-label="Text that both models read"
          onInput=${(event) => setDraft(event.target.value)}></textarea>`
          : data ? html`<${DifferenceText} data=${data} view=${view} go=${go} names=${[model.name, against?.name]} />`
          : text ? html`<${Waiting}>Both are reading…<//>` : html`<p class="note">There is no text yet: press Edit and paste one.</p>`}
        ${error && html`<${Failure} error=${error} />`}
      <//>
      ${data && html`<${LargestDifferences} data=${data} go=${go} a=${model} b=${against} />`}
    </div>
    <div class="w4 stack">
      <${Panel} class="stack" title="Between" aside=${busy && html`<span class="pulse"></span>`}>
        <div class="row versus"><${Field} label="A">
          <select value=${model.name}
          onChange=${(event) => go({ model: event.target.value, against: event.target.value === view.against ? view.model : view.against })}>
            ${info.models.map(({ name }) => html`<option key=${name} value=${name} selected=${name === model.name}>${name}</option>`)}</select><//>
          <button type="button" class="icon" title="Swap (x)" aria-label="Swap A and B"
            onClick=${() => go({ model: view.against, against: view.model })}>⇄</button>
          <${Field} label="B"><select value=${view.against} onChange=${(event) => go({ against: event.target.value })}>
            ${candidates.map(({ name }) => html`<option key=${name} value=${name} selected=${name === view.against}>${name}</option>`)}</select><//></div>
        ${data && against && html`<${Verdict} data=${data} a=${model} b=${against} />`}
      <//>
      ${data && html`<${RunningSum} data=${data} go=${go} a=${model} b=${against} />`}
    </div>
    <${Keys} go=${go} view=${view} />
  </div>`;
}

function Keys({ go, view }) {
  useKeys({ x: () => go({ model: view.against, against: view.model }) }, { x: "swap A and B" });
  return null;
}

const Scale = ({ a, b }) => html`<span class="scale"><span>better predicted by ${a}</span><i class="ramp both"></i><span>by ${b}</span></span>`;

// Bits of each piece that A pays more than B.
const differences = (data) => data.nats[0].map((nats, k) => bits(nats - data.nats[1][k]));

function DifferenceText({ data, view, go, names }) {
  const difference = useMemo(() => differences(data), [data]);
  const colour = useMemo(() => (element, k, theme) => {
    paint(element, "diverging", difference[k] / FULL, theme);
    element.title = `${symbolText(data.pieces[k])}: ${names[0]} ${fixed(bits(data.nats[0][k]))}, ${names[1]} ${fixed(bits(data.nats[1][k]))} bits`;
  }, [data]);
  return html`<${Pieces} data=${data} colour=${colour} view=${view} go=${go}
    say=${(k) => `${symbolText(data.pieces[k])}: ${names[0]} ${fixed(bits(data.nats[0][k]))} bits, ${names[1]} ${fixed(bits(data.nats[1][k]))}`} />`;
}

const Pieces = ({ data, colour, view, go, say }) => html`
  <${Passage} label="The text, coloured by the model that predicts each symbol better" symbols=${data.pieces} paint=${colour} paintKey=${data}
  pos=${view.pos} onPick=${(pos) => go({ pos })} say=${say} />
  ${view.pos >= 0 && view.pos < data.pieces.length && html`<p class="readout">
    <span class="sym">${symbolText(data.pieces[view.pos])}</span> ${say(view.pos).split(": ").slice(1).join(": ")}</p>`}`;

function Verdict({ data, a, b }) {
  const total = data.nats.map((some) => some.reduce((sum, v) => sum + v, 0));
  const difference = differences(data);
  const mean = difference.reduce((sum, v) => sum + v, 0) / difference.length;
  const spread = Math.sqrt(difference.reduce((sum, v) => sum + (v - mean) ** 2, 0) / Math.max(1, difference.length - 1) / difference.length);
  const better = mean > 0 ? b : a;
  const chars = data.chars;
  const perChar = data.pieces.length / chars;
  probe("compare", { a: a.name, b: b.name, total, pieces: data.pieces, nats: data.nats });
  return html`<${Figures} of=${[
      [a.name, fixed(bits(total[0]) / chars, 3), "bits/char"],
      [b.name, fixed(bits(total[1]) / chars, 3), "bits/char"],
    ]} />
    <p>${Math.abs(bits(total[0] - total[1])) < 0.05 ? "No difference."
      : html`<b>${better.name}</b> needs <b>${fixed(Math.abs(bits(total[0] - total[1])), 1)} bits</b> less for these ${number(chars)} characters.`}</p>
    <p class="note">${signed(mean * perChar, 3)} ± ${fixed(1.96 * spread * perChar, 3)} bits/char (95 %, assuming independent symbols, which is only approximate: use a long text, or <code>unroll compare</code>).
      ${data.pieces.length < data.symbols[0] || data.pieces.length < data.symbols[1]
        ? ` The vocabularies differ: pieces go from one common boundary to the next.` : ""}</p>
    ${data.unknown.some((some) => some.length) && html`<p class="note">Read as unknown: ${data.unknown.flat().map(symbolText).join(" ")}</p>`}`;
}

function LargestDifferences({ data, go, a, b }) {
  const difference = useMemo(() => differences(data), [data]);
  const order = useMemo(() => difference.map((_, k) => k).sort((x, y) => difference[x] - difference[y]), [difference]);
  const where = (k) => {
    const around = (from, to) => data.pieces.slice(Math.max(0, from), to).map((piece) => (piece === " " ? " " : symbolText(piece))).join("");
    const [before, piece, after] = [around(k - 14, k), symbolText(data.pieces[k]), around(k + 1, k + 8)];
    // The same context can come twice in a text; the place tells its buttons apart.
    return html`<button type="button" class="quiet where" aria-label=${`${before}${piece}${after}, symbol ${k + 1}`} onClick=${() => go({ pos: k })}>
      <span class="sym"><i>${before}</i><b>${piece}</b><i>${after}</i></span></button>`;
  };
  const columns = [
    ["in context", where],
    ["A", (k) => fixed(bits(data.nats[0][k]), 1), "number"],
    ["B", (k) => fixed(bits(data.nats[1][k]), 1), "number"],
    ["gain", (k) => signed(Math.abs(difference[k]), 1), "number"],
  ];
  return html`<div class="grid">
    <${Panel} class="w6" title=${`Where ${a.name} is better`} aside="bits">
      <${Table} class="places" columns=${columns} rows=${order.filter((k) => difference[k] < 0).slice(0, 8)} caption="Symbols that A predicts better than B" /><//>
    <${Panel} class="w6" title=${`Where ${b?.name} is better`} aside="bits">
      <${Table} class="places" columns=${columns} rows=${order.filter((k) => difference[k] > 0).reverse().slice(0, 8)} caption="Symbols that B predicts better than A" /><//>
  </div>`;
}

function RunningSum({ data, go, a, b }) {
  const sums = useMemo(() => {
    let sum = 0;
    return differences(data).map((v) => (sum += v));
  }, [data]);
  const series = useMemo(() => [{ label: `additional bits of ${a.name}`, values: sums, colour: "--blue" }], [sums]);
  const x = useMemo(() => sums.map((_, k) => k + 1), [sums]);
  const lines = useMemo(() => [{ label: "", value: 0 }], []);
  return html`<${Panel} title="Summed along the text">
    <${Chart} x=${x} series=${series} lines=${lines} height=${230} xLabel="symbol" yLabel="bits" yText=${(v) => signed(v, 1)} onPick=${(k) => go({ pos: k })}
    summary=${`The difference adds up to ${signed(sums.at(-1) ?? 0, 1)} bits: ${(sums.at(-1) ?? 0) > 0 ? b?.name : a.name} is better on this text`} /><//>`;
}
