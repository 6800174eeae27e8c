// Use: what the model of a task says of a text or of numbers. A classifier: its labels, what decided, and its errors on held-out texts.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { paint } from "../frame/colour.js";
import { number, percent, plural, signed, symbolText } from "../frame/format.js";
import { announce } from "../frame/live.js";
import { NoTask } from "../frame/missing.js";
import { Failure, Panel, Table, Waiting, useRequest } from "../frame/parts.js";
import { Passage } from "../frame/passage.js";
import { probe } from "../frame/probe.js";
import { taskOf } from "../frame/screens.js";
import { useDraft } from "../use/draft.js";
import { Predicted } from "../use/predicted.js";
import { Tagged } from "../use/tagged.js";
import { Translated } from "../use/translated.js";

const FULL = 0.1; // nats at which a colour is full, where no effect is larger
const FEW = 12; // labels that are shown at first
const LEVELS = { char: "character", byte: "byte", word: "word", bpe: "piece" };

const KINDS = { classifier: Classified, tagger: Tagged, translator: Translated, sequence: Predicted };

export default function Use({ view, go, api, info }) {
  const model = taskOf(view, info);
  return model ? html`<${KINDS[model.kind]} key=${model.name} model=${model} view=${view} go=${go} api=${api} />` : html`<${NoTask} info=${info} />`;
}

function Classified({ model, view, go, api }) {
  const version = [model.name, model.version];
  const errors = useRequest(JSON.stringify(version), (signal) => api("errors", { model: model.name }, { signal }));
  const box = useRef(null);
  // A first visit shows a held-out text.
  const example = errors.data?.example ?? (errors.error ? "" : null);
  const [content, save] = useDraft(view, go, api, example);

  const key = content === null ? null : JSON.stringify([...version, content, view.label]);
  const { data, error } = useRequest(key, (signal) => api("labels", { model: model.name, text: content, label: view.label }, { signal }), 120);
  const pick = (label) => {
    go({ label: label === view.label ? null : label }, { quiet: true });
    announce(`what decided for ${label}`);
  };
  const open = (wrong) => {
    save(wrong.text, 0);
    go({ label: model.multi_label ? wrong.label : null }, { quiet: true });
    box.current.focus();
    box.current.setSelectionRange(0, 0);
    box.current.scrollIntoView({ block: "center" });
  };
  const known = errors.data?.errors.find((wrong) => wrong.text === content);
  useEffect(() => {
    if (data) probe("use", { model: model.name, text: data.pieces?.map(([piece]) => piece).join("") ?? null, errors: errors.data, ...data });
  }, [data, errors.data]);
  return html`<div class="grid use">
    <${Panel} class="w7" title="Your text">
      ${content === null ? html`<${Waiting}>Fetching a text…<//>`
        : html`<textarea data-text ref=${box} rows="4" value=${content} spellcheck="false" aria-label="Text that is classified"
            onInput=${(event) => save(event.target.value, 500)}></textarea>`}
      ${error && html`<${Failure} error=${error} />`}
      ${data && data.read < data.units && html`<p class="note">Only the first ${plural(data.read, LEVELS[model.level])} of ${number(data.units)} are read.</p>`}
    <//>
    <${Panel} class="w5" title="Labels" aside=${html`${model.multi_label && html`<span>each by itself</span>`}<span>%</span>`}>
      ${data ? html`<${Labels} data=${data} count=${model.labels} truth=${known?.labels ?? []} onPick=${pick} />`
        : !error && html`<${Waiting}>Reading…<//>`}
      ${(data || error) && html`<p class="note">${data && "Choose a label to see what decided for it."}
        ${view.label && html` <button type="button" class="quiet" onClick=${() => go({ label: null }, { quiet: true })}>Back to the most probable</button>`}</p>`}
    <//>
    ${data && html`<${Decisive} data=${data} level=${model.level} />`}
    <${Errors} request=${errors} several=${model.multi_label} open=${open} />
  </div>`;
}

// The labels of a text with their probabilities as bars; the pressed one is that whose effects are shown.
function Labels({ data, count, truth, onPick }) {
  const [all, setAll] = useState(false);
  const rows = all ? data.labels : data.labels.slice(0, FEW);
  const hidden = count - rows.length;
  return html`<ol class="bars labels" aria-label="Labels and their probabilities">
      ${rows.map(({ label, probability }) => html`<li key=${label}>
        <button type="button" aria-pressed=${label === data.label} title=${label} onClick=${() => onPick(label)}
          aria-label=${`${label}, ${percent(probability)} percent${truth.includes(label) ? ", the true label" : ""}`}>
          <span class="name">${symbolText(label)}${truth.includes(label) && html` <small>true</small>`}</span>
          <span class="likely"><i class="now" style=${{ width: `${100 * probability}%` }}></i></span>
          <span class="number">${percent(probability)}</span>
        </button></li>`)}
    </ol>
    ${hidden > 0 && (rows.length < data.labels.length
      ? html`<p><button type="button" class="quiet" onClick=${() => setAll(true)}>${plural(hidden, "more label")}</button></p>`
      : html`<p class="note">and ${number(hidden)} less probable ones</p>`)}`;
}

// The text, each unit coloured by what it does for a label.
function Decisive({ data, level }) {
  const [pos, setPos] = useState(-1);
  const [hover, setHover] = useState(-1);
  useEffect(() => setPos(-1), [data]);
  const unit = LEVELS[level];
  const title = html`What decided for <span class="sym">${symbolText(data.label)}</span>`;
  const pieces = data.pieces ?? [];
  const symbols = useMemo(() => pieces.map(([piece]) => piece), [data]);
  const full = Math.max(FULL, ...pieces.map(([, effect]) => Math.abs(effect ?? 0)));
  const isUnit = (k) => pieces[k] !== undefined && pieces[k][1] !== null;
  const say = (k) => `${symbolText(pieces[k][0])}: ${effectText(pieces[k][1], data.label)}`;
  const colour = useMemo(() => (element, k, theme) => {
    const effect = pieces[k][1];
    element.removeAttribute("style");
    element.dataset.sign = Math.abs(effect ?? 0) > full / 2 ? (effect > 0 ? "+" : "−") : "";
    if (effect === null) return;
    paint(element, "diverging", effect / full, theme);
    element.title = say(k);
  }, [data]);
  if (!data.pieces) return html`<${Panel} class="w7" title=${title} label="What decided"><p class="note">
    Each ${unit} is hidden once to see what it does, in texts of up to ${number(data.most_units)}: this one has ${number(data.units)}.</p><//>`;
  const shown = isUnit(hover) ? hover : pos;
  return html`<${Panel} class="w7" title=${title} label="What decided" aside=${html`<${Scale} full=${full} />`}>
    ${symbols.length ? html`
      <${Passage} class="effects" label=${`The text, coloured by what each ${unit} does for ${data.label}`} symbols=${symbols} paint=${colour} paintKey=${data}
        pos=${pos} stops=${isUnit} onPick=${setPos} onHover=${setHover} say=${say} />
      <p class="readout">${isUnit(shown) ? html`<span class="sym">${symbolText(pieces[shown][0])}</span> ${effectText(pieces[shown][1], data.label)}`
        : html`Point at a ${unit}, or walk with the arrow keys: how much less probable the label is without it.`}</p>`
      : html`<p class="note">There is no ${unit} to hide.</p>`}
  <//>`;
}

function effectText(effect, label) {
  const times = Math.exp(Math.abs(effect));
  const change = times < 1.005 ? "as probable" : `${times < 100 ? times.toPrecision(3) : number(times)} times ${effect > 0 ? "less" : "more"} probable`;
  return `${signed(effect)} nats: without it “${label}” is ${change}`;
}

const Scale = ({ full }) => html`<span class="scale"><span>against it, ${signed(-full)}</span><i class="ramp both"></i><span>${signed(full)} nats, for it</span></span>`;

// What the classifier is wrong about; one of them goes into the box with a click.
function Errors({ request: { data, error }, several, open }) {
  if (!data) return html`<${Panel} title="Errors on held-out texts">${error ? html`<${Failure} error=${error} />` : html`<${Waiting}>Classifying the held-out texts…<//>`}<//>`;
  const columns = [
    ["text", ({ text }, k) => html`<button type="button" class="quiet where" aria-label=${`Error ${k + 1}: ${text.slice(0, 200)}`}
      onClick=${() => open(data.errors[k])}>${text.slice(0, 300) || html`<i>empty</i>`}</button>`],
    ["true", ({ labels }) => labels.join(", ") || html`<i>none</i>`],
    several ? ["error", ({ label, missed }) => `${label} ${missed ? "missed" : "given"}`] : ["predicted", ({ label }) => label],
    [several ? "its %" : "%", ({ probability }) => percent(probability), "number"],
  ];
  const some = data.errors.length < data.wrong ? `; the first ${number(data.errors.length)} are listed` : "";
  return html`<${Panel} title="Errors on held-out texts" aside=${data.count > 0 && html`<span>
      ${number(data.wrong)} of ${data.count < data.total ? `the first ${number(data.count)} of ${number(data.total)}` : number(data.count)} texts, the most confident first${some}</span>`}>
    ${data.errors.length > 0 ? html`<${Table} class=${several ? "errors several" : "errors"} columns=${columns} rows=${data.errors} page=${10} caption="Errors on held-out texts, the most confident first" />`
      : html`<p class="note">${data.count ? `It is right about all ${number(data.count)}.` : "No held-out text is beside this classifier."}</p>`}
  <//>`;
}
