// A translator: the best translations of a text, and what each piece of the chosen one attended to, as linked texts and a heat map.
import { html, useEffect, useMemo, useState } from "../vendor/preact.js";
import { entry, paint } from "../frame/colour.js";
import { fixed, percent, symbolText } from "../frame/format.js";
import { announce } from "../frame/live.js";
import { Failure, Panel, Waiting, useRequest } from "../frame/parts.js";
import { Passage } from "../frame/passage.js";
import { probe } from "../frame/probe.js";
import { Heat, Legend } from "../inside/heat.js";
import { useDraft } from "./draft.js";

const BEST = 5;
const ROW = 22; // pixels of a row of the heat map, as long as there are few
const TALLEST = 480;
const LABELLED = 40; // pieces up to which rows and columns have names

export function Translated({ model, view, go, api }) {
  const [content, save] = useDraft(view, go, api);
  const key = content ? JSON.stringify([model.name, model.version, content]) : null;
  const body = { model: model.name, text: content, beam: BEST, n_best: BEST, attention: true };
  const { data, error, busy } = useRequest(key, (signal) => api("/translate", body, { signal }), 200);
  const [rank, setRank] = useState(0);
  const translations = data?.data[0].translations ?? [];
  useEffect(() => setRank(0), [data]);
  const chosen = translations[Math.min(rank, translations.length - 1)];
  useEffect(() => {
    if (data) probe("use", { model: model.name, rank, ...data.data[0] });
  }, [data, rank]);
  const pick = (k) => {
    setRank(k);
    announce(translations[k].text);
  };
  return html`<div class="grid">
    <${Panel} class="w6" title="Your text">
      ${content === null ? html`<${Waiting}>Fetching a text…<//>`
        : html`<textarea data-text rows="4" value=${content} spellcheck="false" aria-label="Text that is translated" placeholder="A sentence"
            onInput=${(event) => save(event.target.value, 500)}></textarea>`}
      ${error && html`<${Failure} error=${error} />`}
    <//>
    <${Panel} class="w6" title="Translations" aside=${html`<span>mean ln P of a piece</span>`}>
      ${chosen ? html`<ol class="translations" aria-label="Translations, the best first">${translations.map((one, k) => html`<li key=${k}>
          <button type="button" aria-pressed=${k === rank} onClick=${() => pick(k)}><span>${one.text || "∅"}</span><span class="number">${fixed(one.score)}</span></button></li>`)}</ol>
        <p class="note">Choose one to see what it attended to.</p>`
        : content && !error ? html`<${Waiting}>Translating…<//>` : html`<p class="note">${content ? "" : "Type a text to translate it."}</p>`}
    <//>
    ${chosen && (chosen.attention ? chosen.attention.target.length > 0 && html`<${Attention} attention=${chosen.attention} busy=${busy} />`
      : html`<${Panel} title="Attention"><p class="note">This translator has no attention: its decoder reads one vector of the whole text. Trained with
          ${" "}<code>--attention dot</code>, it shows here which pieces each piece looks at.</p><//>`)}
  </div>`;
}

const argmax = (values) => values.reduce((best, value, k) => (value > values[best] ? k : best), 0);

// The text and the translation, linked: a piece at the cursor of one shows its weights in the other, and both in the map.
export function Attention({ attention: { source, target, weights } }) {
  const [cell, setCell] = useState([0, argmax(weights[0])]);
  const [hover, setHover] = useState(null);
  useEffect(() => {
    setCell([0, argmax(weights[0])]);
    setHover(null);
  }, [weights]);
  const [pos, row] = (hover ?? cell)[0] < target.length && (hover ?? cell)[1] < source.length ? (hover ?? cell) : [0, 0];
  const at = (t) => [t, argmax(weights[t])];
  const of = (s) => [argmax(weights.map((piece) => piece[s])), s];
  const order = useMemo(() => source.map((_, k) => k), [source]);
  const levels = useMemo(() => Uint8Array.from(source.flatMap((_, s) => weights.map((piece) => entry("blue", piece[s])))), [weights]);
  const name = (piece) => symbolText(piece.trim() || piece);
  const most = weights[pos].map((weight, s) => [weight, s]).sort((a, b) => b[0] - a[0]).slice(0, 3).filter(([weight]) => weight >= 0.05);
  const sayTarget = (t) => {
    const s = argmax(weights[t]);
    return `${name(target[t])} attends to ${name(source[s])}, ${percent(weights[t][s])} percent`;
  };
  const saySource = (s) => {
    const [t] = of(s);
    return `${name(source[s])} is attended to most at ${name(target[t])}, ${percent(weights[t][s])} percent`;
  };
  const paintSource = (element, s, theme) => paint(element, "blue", weights[pos][s], theme);
  const paintTarget = (element, t, theme) => paint(element, "blue", weights[t][row], theme);
  const height = Math.min(TALLEST, ROW * source.length);
  const few = source.length <= LABELLED && target.length <= LABELLED;
  return html`<${Panel} title="Attention" aside=${html`<${Legend} map="blue" low="0" high="100 %" />`}>
    <div class="attention-texts">
      <span class="muted">text</span><${Passage} class="attended from" label="The text, coloured by the weight of each piece" symbols=${source} paint=${paintSource}
        paintKey=${`${pos}`} pos=${row} onPick=${(s) => setCell(of(s))} onHover=${(s) => setHover(s < 0 ? null : of(s))} say=${saySource} />
      <span class="muted">translation</span><${Passage} class="attended to" label="The translation, coloured by its weights on the chosen piece" symbols=${target}
        paint=${paintTarget} paintKey=${`${row}`} pos=${pos} onPick=${(t) => setCell(at(t))} onHover=${(t) => setHover(t < 0 ? null : at(t))} say=${sayTarget} />
    </div>
    <p class="readout"><span class="sym">${name(target[pos])}</span> attends to ${most.map(([weight, s], k) => html`${k ? ", " : ""}<span class="sym">${name(source[s])}</span> ${percent(weight)} %`)}</p>
    <div class=${`attention-map ${few ? "" : "bare"}`} style=${{ "--width": `${Math.max(20, 34 * target.length)}px` }}>
      ${few && html`<div class="columns" aria-hidden="true">${target.map((piece, t) => html`<span key=${t} class=${t === pos ? "now" : ""}>${name(piece)}</span>`)}</div>
      <div class="rows" aria-hidden="true" style=${{ height: `${height}px` }}>${source.map((piece, s) => html`<span key=${s} class=${s === row ? "now" : ""}>${name(piece)}</span>`)}</div>`}
      <${Heat} levels=${levels} count=${target.length} order=${order} map="blue" pos=${pos} row=${row} height=${height}
        onPick=${(t, s) => { setCell([t, s]); announce(`${name(target[t])}, ${name(source[s])}: ${percent(weights[t][s])} percent`); }}
        onHover=${(t, s) => setHover(t < 0 ? null : [t, s])}
        summary=${`Attention of ${target.length} pieces of the translation, in columns, to ${source.length} pieces of the text, in rows. ${sayTarget(pos)}`} />
    </div>
  <//>`;
}
