// Memory: how far back models remember, on one absolute scale, and what a single prediction depends on.
import { html, useEffect, useMemo, useState } from "../vendor/preact.js";
import { Chart } from "../frame/chart.js";
import { css, entry, ink, table } from "../frame/colour.js";
import { bits, fixed, number, plural, symbolText } from "../frame/format.js";
import { cursorKeys, useKeys } from "../frame/keys.js";
import { Choice, Failure, Panel, Waiting, useRequest } from "../frame/parts.js";
import { Passage } from "../frame/passage.js";
import { probe } from "../frame/probe.js";
import { useText } from "../frame/view.js";
import { LEAST, size, tenTo, value } from "../inside/figures.js";
import { Legend } from "../inside/heat.js";
import { JobProgress, isRunning, useJob } from "../inside/jobs.js";
import { ModelChoice, SourceChoice, TextChoice, coloursOf, labelOf, placeholder, sideBySide, sourceOf, useTrace } from "../inside/trace.js";

export default function Memory({ view, go, api, info }) {
  // The model's own text is that of the first, and an n-gram keeps none.
  const names = sideBySide(view, info, 3).sort((a, b) => isNgram(a, info) - isNgram(b, info));
  const networks = names.filter((name) => !isNgram(name, info));
  const job = useJob(api, "measurement");
  const [full, setFull] = useState(false);
  const [text, setText] = useText(view, go, api);
  const sizes = [[full ? 100000 : 10000, ""]];
  const body = { models: names, full, ...sourceOf(view, text, sizes) };
  const begin = () => job.begin("inside/memory", body);
  const textless = names.length > 0 && !networks.length && Boolean(body.part);
  const key = text === null || textless ? null : JSON.stringify(body);
  useEffect(() => {
    if (names.length && key) begin();
    else job.reset();
  }, [key]);
  const result = job.job?.state === "done" ? job.job.result : null;
  return html`<div class="grid">
    <div class="panel bar row">
      <${ModelChoice} names=${names} info=${info} onChange=${(next) => go({ with: next.join(",") }, { quiet: true })} />
      <span class="grow"></span>
      <${SourceChoice} view=${view} go=${go} text=${text} setText=${setText} sizes=${sizes} />
      <${Choice} label="Precision" value=${full} options=${[[false, "quick"], [true, "full"]]} onChange=${setFull} />
    </div>
    ${textless && html`<p class="note">An n-gram keeps no text of its own: paste one, or choose a network beside it.</p>`}
    ${job.error && html`<div><${Failure} error=${job.error} retry=${begin} /></div>`}
    ${isRunning(job.job) && html`<div class="panel"><${JobProgress} job=${job.job} cancel=${job.cancel} /></div>`}
    ${job.job?.state === "cancelled" && html`<p class="note">Cancelled. <button type="button" class="small" onClick=${begin}>Measure again</button></p>`}
    ${result && html`<${Curves} result=${result} names=${names} info=${info} />`}
    ${networks.length ? html`<${Depends} names=${networks} view=${view} go=${go} api=${api} info=${info} />` : html`
      <${Panel} title="What one prediction depends on"><p class="note">Choose a network: an n-gram has no gradients.</p><//>`}
  </div>`;
}

const isNgram = (name, info) => info.models.find((model) => model.name === name).arch === "ngram";
const nameOf = (model) => model.model.split("/").pop();

function Curves({ result, names, info }) {
  const [by, setBy] = useState("x");
  const models = result.models.map((model, k) => ({ ...model, name: names[k] ?? nameOf(model) }));
  const colours = coloursOf(models.map(({ name }) => name), info);
  const curves = models.map((model) => curveOf(model, by));
  const lags = Math.max(0, ...curves.map((curve) => curve?.length ?? 0));
  const x = useMemo(() => Array.from({ length: Math.max(0, lags - 1) }, (_, k) => k + 1), [lags]);
  const series = useMemo(
    () => models.flatMap(
    (model, k) => (curves[k] ? [{ label: model.name, colour: colours[k], width: 1.8, values: x.map((lag) => drawable(curves[k][lag])) }] : [])), [result, by]);
  const contexts = models[0].context_loss.map(([k]) => k);
  const losses = useMemo(
    () => models.map((model, k) =>
    ({ label: model.name, colour: colours[k], width: 1.8, points: true, values: model.context_loss.map(([, nats]) => bits(nats)) })), [result]);
  const windows = models.filter(({ context }) => context !== null);
  useEffect(() => probe("memory", { models, by, curves }), [result, by]);
  const smallest = curves.flatMap(
    (curve, k) => (curve ?? []).slice(1).filter((v) => v !== null && v < LEAST && !(models[k].context !== null && v === 0))).length;
  const gradientSummary = `gradient by lag: ${models.map(
    (model, k) => (curves[k]
    ? `${model.name} ${size(curves[k][1])} at lag 1, ${size(curves[k].at(-1), model.context !== null)} at lag ${curves[k].length - 1}`
    : `${model.name} has none`)).join("; ")}`;
  const lossSummary = `loss by context: ${models.map(
    (model) => `${model.name} from ${fixed(bits(model.context_loss[0][1]), 2)} bits after one symbol to ${fixed(bits(model.full_nats),
    2)} after all`).join("; ")}`;
  return html`
    <${Panel} class="w6" title="Gradient of a loss by earlier symbols"
      aside=${html`<${Choice} label="Gradient by" value=${by}
      options=${[["x", "by the inputs"],
      ["state", "by the state", models.some(({ arch }) => arch !== "window" && arch !== "ngram") ? undefined : "none of these has a state"]]}
        onChange=${setBy} />`}>
      ${series.length ? html`
        <${Chart} x=${x} series=${series} height=${280} xLabel="symbols before" yLabel=${by === "x" ? "‖∂L/∂x‖" : "‖∂L/∂state‖"}
        yText=${(v) => size(10 ** v)} yTick=${tenTo} summary=${gradientSummary} />` : html`<p class="note">None of these models has such a gradient.</p>`}
      <p class="note">Geometric mean over ${plural(Math.min(64, result.targets),
        "target")}, in float64, on one absolute scale for all models.${windows.filter(({ arch }) => arch !== "ngram").map(
        ({ name, context }) => ` ${name} ends at ${context}: beyond its ${context} symbols the gradient is exactly 0.`)}${smallest
          ? ` Values below 10⁻³⁰ are not drawn; they are not 0.` : ""} A gradient shows what a small change would do, not whether the model uses it.</p>
    <//>
    <${Panel} class="w6" title="Loss by available context" aside=${html`${plural(result.targets, "target")} of ${result.file}`}>
      <${Chart} x=${contexts} series=${losses} height=${280} xLog xLabel="symbols of context" yLabel="bits per symbol"
        marks=${windows.map(({ context }) => context)} yText=${(v) => fixed(v, 3)} xText=${number} summary=${lossSummary} />
      <p class="note">The same symbols are predicted from contexts of each length; the last point uses all of the text before. ${windows.length
        ? "A window is flat once its context is full." : "Where a line is flat, more context does not help."}</p>
    <//>
    <${Panel} title="Figures">
      <div class="table" tabindex="0" role="group" aria-label="Figures of the models"><table><thead><tr><th scope="col">model</th><th scope="col" class="number">context is worth</th>
        <th scope="col" class="number">99 % of it within</th><th scope="col" class="number">order matters within</th>
        <th scope="col" class="number">gradient halves every</th><th scope="col" class="number">1 % of lag 1 remains after</th></tr></thead>
        <tbody>${models.map((model, k) => html`<tr key=${model.name}><th scope="row">
          <i class="dot" style=${{ background: `var(${colours[k]})` }}></i>${model.name} <small>
          ${labelOf(model.arch, info)}${model.context === null ? "" : `, sees ${model.context}`}</small></th>
          <td class="number">${fixed(bits(model.gain), 3)} bits per symbol</td><td class="number">${span(model, "span_99", result.limit)}</td>
            <td class="number">${span(model, "shuffled_99", result.history)}</td>
          <td class="number">${model.half_life === null ? html`<span title=${model.notes.join("; ")}>–</span>`
            : `${Number(model.half_life.toPrecision(3))} steps`}</td><td class="number">${left(curveOf(model, "x"), model.context)}</td></tr>`)}
              </tbody></table></div>
      ${result.quick && html`
        <p class="note">Quick: contexts up to ${number(result.limit)}, ${plural(result.targets,
        "target")}; intervals are wide. Full: contexts up to 512, 1,000 targets.</p>`}
      ${[...new Set([...result.notes, ...models.flatMap(({ name, notes }) => notes.map((note) => `${name}: ${note}`))])].map(
        (note) => html`<p class="note" key=${note}>${note}.</p>`)}
    <//>`;
}

// Sizes by lag, 0 and up; null where the model has none.
function curveOf(model, by) {
  const signals = model.gradient_signals;
  if (!signals) return null;
  if (by === "x") return signals.x.map(([, v]) => v);
  return model.arch === "window" ? null : model.gradient.map(([, v]) => v);
}
const drawable = (v) => (v === null || v === undefined || v < LEAST ? null : Math.log10(v));

function span(model, name, most) {
  const [low, high] = model[`${name}_interval`];
  const text = (v) => (v === null ? `> ${number(most)}` : Number(v.toPrecision(3)));
  if (model[name] === null) return model.gain > 0 ? html`more than ${number(most)}` : "–";
  return html`${Number(model[name].toPrecision(3))} symbols <small>[${text(low)}, ${text(high)}]</small>`;
}

function left(curve, context) {
  if (!curve) return "–";
  const k = curve.findIndex((v, lag) => lag > 0 && v !== null && v < 0.01 * curve[1]);
  if (k < 0) return `more than ${curve.length - 1}`;
  return context !== null && curve[k] === 0 ? `${k}: then exactly 0` : `${k} steps`;
}

// ---- what one prediction depends on

const METHODS = [["size", "gradient"], ["integrated", "integrated gradients"], ["leave-out", "leave one out"]];
const DECADES = 6;

function Depends({ names, view, go, api, info }) {
  const trace = useTrace({ ...view, model: names[0] }, go, api);
  const [method, setMethod] = useState("size");
  const data = trace.data;
  const count = data?.symbols.length ?? 0;
  const pos = view.pos >= 1 ? Math.min(view.pos, count - 1) : Math.min(count - 1, 120);
  const request = useRequest(data && pos >= 1 ? JSON.stringify([data.id, data.version, names, pos, method]) : null,
    (signal) => api("inside/depends", { models: names, id: data.id, at: pos, method }, { signal }), 150);
  useKeys(cursorKeys({ ...view, pos }, go, { length: count }), { "← →": "previous, next prediction" });
  const results = request.data?.models ?? [];
  const scored = results.filter(({ error }) => !error);
  const largest = Math.max(1e-300, ...scored.flatMap(({ scores }) => scores.map(Math.abs)));
  useEffect(() => probe("depends", { at: pos, method, largest, models: results }), [request.data, pos, method]);
  const waiting = placeholder(trace, html`<${Waiting}>Reading a text…<//>`);
  return html`<${Panel} title="What one prediction depends on"
    aside=${html`<${Choice} label="Method" value=${method} options=${METHODS} onChange=${setMethod} />`}>
    <${TextChoice} trace=${data} text=${trace.text} setText=${trace.setText} view=${view} go=${go} />
    ${waiting ?? html`<div class="stack">
      <p class="note">Click a symbol to see what its prediction depends on. ${method === "size"
        ? "Symbols before it are coloured by the norm of the gradient, on one logarithmic scale for all models."
        : "Orange raised the probability of the symbol, blue lowered it, in nats of log p, on one scale for all models."} Up to 256 symbols back are scored.</p>
      <div class="row tight">
        ${method === "size" ? html`<${Legend} map="orange" low=${size(largest / 10 ** DECADES)} high=${size(largest)} />`
        : html`<${Legend} map="diverging" low=${`${value(-largest)} nats`} high=${`${value(largest)} nats`} />`}${request.busy && html`
        <span class="muted">loading…</span>`}</div>
      ${request.error && html`<${Failure} error=${request.error} />`}
      ${(results.length ? results : names.map((model) => ({ model, scores: [], first: 0, waiting: true }))).map(
        (result) => html`<${DependsText} key=${result.model} result=${result} trace=${data} pos=${pos} method=${method} largest=${largest} go=${go} info=${info} />`)}
    </div>`}
  <//>`;
}

function DependsText({ result, trace, pos, method, largest, go, info }) {
  if (result.error) return html`<div><h3 class="name">${result.model}</h3><${Failure} error=${result.error} /></div>`;
  const { scores, first } = result;
  const before = (k) => (k >= first && k < first + scores.length && k < pos ? scores[k - first] : null);
  const paint = (element, k, theme) => {
    const v = before(k);
    element.style.backgroundColor = "";
    element.style.color = "";
    element.classList.toggle("unseen-before", k >= pos);
    if (v === null) return;
    const [map, share] = method === "size" ? ["orange", v > 0 ? Math.max(0, 1 + Math.log10(v / largest) / DECADES) : 0] : ["diverging", v / largest];
    const colour = table(map, theme)[entry(map, share)];
    element.style.backgroundColor = css(colour);
    element.style.color = ink(colour);
  };
  const zero = result.context !== null && result.context !== undefined;
  const text = (v) => (method === "size" ? size(v, zero) : `${value(v, 3)} nats`);
  const top = scores.map((v, k) => [Math.abs(v), k]).sort((a, b) => b[0] - a[0]).slice(0, 3).map(
    ([, k]) => `${symbolText(trace.symbols[first + k])} ${pos - first - k} before: ${text(scores[k])}`);
  return html`<div>
    <h3 class="name"><b>${result.model}</b> <small>${labelOf(info.models.find(({ name }) => name === result.model)?.arch, info)}</small>
      ${result.nats !== undefined && html`
        <span class="muted"> ${symbolText(result.target)} costs ${fixed(bits(result.nats))} bits${top.length ? `; most: ${top.join(", ")}`
        : ""}${result.agreement !== null && result.agreement !== undefined ? `; rank agreement with leave one out ${fixed(result.agreement)}` : ""}</span>`}</h3>
    <${Passage} symbols=${trace.symbols} class="short" paint=${paint} paintKey=${result} pos=${pos} onPick=${(k) => k >= 1 && go({ pos: k })}
      say=${(k) => `${symbolText(trace.symbols[k])}${before(k) === null ? "" : ` ${text(before(k))}`}`}
        label=${`what ${result.model}'s prediction of symbol ${pos} depends on`} /></div>`;
}
