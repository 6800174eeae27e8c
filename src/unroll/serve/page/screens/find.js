// Find: which units track a property that is chosen or painted; the labels are seen before anything is searched.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { css, entry, ink, table } from "../frame/colour.js";
import { fixed, number, percent, plural, symbolText } from "../frame/format.js";
import { useKeys } from "../frame/keys.js";
import { announce } from "../frame/live.js";
import { Choice, Failure, Field, Panel, Waiting, useRequest } from "../frame/parts.js";
import { Passage } from "../frame/passage.js";
import { probe } from "../frame/probe.js";
import { useText } from "../frame/view.js";
import { JobProgress, isRunning, useJob } from "../inside/jobs.js";
import { SourceChoice, sourceOf } from "../inside/trace.js";
import { Spark } from "../inside/spark.js";

const SIZES = [[20000, "20,000 symbols"], [60000, "60,000"], [131072, "131,072"]];
const VERDICTS = {
  causal: "tracks, and is used", tracks: "tracks", leans: "suggestive", none: "no evidence",
};
const digest = (text) => Array.from(text).reduce((sum, letter) => (Math.imul(sum, 31) + letter.codePointAt(0)) >>> 0, 7).toString(36);
const EXAMPLES = [["re:\\b[A-Z][a-z]+", "names"], ["re:\\d+", "numbers"], ["re:\\b(?:he|him|his)\\b", "he"], ["re:[.!?]\\s", "sentence ends"]];

export default function Find({ view, go, api }) {
  const [text, setText] = useText(view, go, api);
  const properties = useRequest("properties", (signal) => api("inside/properties", undefined, { signal }));
  const [draft, setDraft] = useState(null); // the pattern that is being typed, ahead of the address
  const property = draft === null ? view.prop || "quotes" : `re:${draft}`;
  const source = sourceOf(view, text, SIZES);
  const [painting, setPainting] = useState(null); // labels painted by hand: Float32Array, or null
  const key = view.model && text !== null ? JSON.stringify([view.model, source, property]) : null;
  const labelling = useRequest(key, (signal) => api.frame("inside/labels", { model: view.model, property, ...source }, { signal }), 250);
  const search = useJob(api, "search");
  const searched = useRef("");
  const input = useMemo(() => (key ? digest(key) : ""), [key]);
  const [id, origin] = (view.search ?? "").split(".");
  const searchId = input && origin === input ? id : "";
  const saveTimer = useRef(0);
  const panel = useRef(null);
  const data = labelling.error ? null : labelling.data; // a property that cannot be read has no labels
  const labels = painting ?? data?.arrays.labels.data;
  useEffect(() => setPainting(null), [key]);

  const run = () => {
    const labelled = painting ? { labels: runsOf(painting), id: data.id } : { property, ...source };
    searched.current = input;
    if (draft !== null) go({ prop: property }, { quiet: true });
    search.begin("inside/find", { model: view.model, top: 10, ...labelled });
  };
  const type = (pattern) => {
    setDraft(pattern);
    clearTimeout(saveTimer.current);
    saveTimer.current = setTimeout(() => go({ prop: `re:${pattern}` }, { quiet: true }), 400);
  };
  const choose = (prop) => {
    clearTimeout(saveTimer.current);
    setDraft(null);
    go({ prop });
  };
  useEffect(() => setDraft(null), [view.prop]);
  useEffect(() => () => clearTimeout(saveTimer.current), []);
  // The search is in the address, with a digest of its input: a reload, or a visit to another screen, brings its result back.
  useEffect(() => {
    if (!searchId) search.reset();
    else if (search.job?.id !== searchId) search.resume(searchId);
  }, [searchId]);
  useEffect(() => {
    if (search.job?.id && searched.current) go({ search: `${search.job.id}.${searched.current}` }, { quiet: true });
  }, [search.job?.id]);
  const result = search.job?.state === "done" ? search.job.result : null;
  useEffect(() => {
    probe("find", { property, labels: labels ? Array.from(labels) : null, painted: painting !== null, state: search.job?.state ?? null,
      findings: result?.findings ?? null });
  });
  useKeys({ r: () => (canRun ? run() : false) }, { r: "search" });
  const reason = painting ? paintedWhy(painting) : data?.why_not;
  // Labels of the pattern before do not stop a search for the one that was just typed: the server checks it.
  const canRun = Boolean(view.model) && !labelling.error && !isRunning(search.job) && (data?.property !== property || !reason);
  useEffect(() => {
    if (search.job?.state === "waiting") panel.current?.scrollIntoView({ block: "nearest" });
    const low = panel.current && panel.current.getBoundingClientRect().top > innerHeight / 2;
    if (result && low) panel.current.scrollIntoView({ block: "start" });
  }, [search.job?.state]);

  return html`<div class="grid">
    <${Panel} title="What might a unit track?">
      <div class="row">
        <${Field} label="Property">
          <select value=${property.startsWith("re:") ? "re:" : property}
          onChange=${(event) => choose(event.target.value === "re:" ? EXAMPLES[0][0] : event.target.value)}>
          ${(properties.data ?? []).map(({ name, what }) => html`<option key=${name} value=${name} selected=${name === property}>${name}: ${what}</option>`)}
          <option value="re:" selected=${property.startsWith("re:")}>a regular expression</option></select><//>
        ${property.startsWith("re:") && html`<${Field} label="Pattern (Python's re)" class="pattern">
          <input type="text" value=${property.slice(3)} maxlength="500" spellcheck=${false} onInput=${(event) => type(event.target.value)} /><//>`}
        <${SourceChoice} view=${view} go=${go} text=${text} setText=${setText} sizes=${SIZES} />
        <span class="grow"></span>
        <button type="button" class="main" disabled=${!canRun} title="Search all units (r)" onClick=${run}>Search all units</button>
      </div>
      ${property.startsWith("re:") && html`
        <p class="note">Labels are 1 inside matches. Examples: ${EXAMPLES.map(
        ([example, label], k) => html`${k ? ", " : ""}<button type="button" class="quiet" key=${example} onClick=${() => choose(example)}>${label}</button>`)}.</p>`}
      ${properties.error && html`<${Failure} error=${properties.error} />`}
    <//>

    ${(search.job || search.error) && html`
      <div ref=${panel} class="findings"><${Panel} title="Units by held-out score" label="Findings"
      aside=${result && html`${plural(result.searched, "signal")} of units searched on ${plural(result.symbols, "symbol")} in ${fixed(
      search.job.seconds, 1)} s`}>
      ${search.error && html`<${Failure} error=${search.error} retry=${run} />`}
      ${isRunning(search.job) && html`<${JobProgress} job=${search.job} cancel=${search.cancel} />`}
      ${search.job?.state === "cancelled" && html`<p class="note">Cancelled. <button type="button" class="small" onClick=${run}>Search again</button></p>`}
      ${result && html`<${Findings} result=${result} go=${go} property=${painting ? "" : property} />`}
    <//></div>`}

    <${Panel} title="The labels, before the search" label="The labels"
      aside=${data && html`<${Counts} data=${data} labels=${labels} byHand=${painting !== null} />`}>
      ${labelling.error && html`<${Failure} error=${labelling.error} />`}
      ${data ? html`<${LabelEditor} data=${data} labels=${labels} painting=${painting} setPainting=${setPainting} view=${view} go=${go} />` : !labelling.error
        && html`<${Waiting}>Labelling a text…<//>`}
      ${reason && html`<p class="failure" role="status">${reason}.</p>`}
    <//>
  </div>`;
}

function Counts({ data, labels, byHand }) {
  if (!byHand && !data.binary) return html`${data.what}: mean ${fixed(data.mean)}, at most ${number(data.largest)}, over ${plural(data.total, "symbol")}`;
  if (byHand) {
    const runs = runsOf(labels);
    return html`painted by hand: ${percent(share(labels))} % of ${plural(labels.length, "symbol")}, ${plural(runs.length, "run")}`;
  }
  return html`${data.what}: ${percent(data.share)} % of ${plural(data.total, "symbol")}, ${plural(data.runs, "run")}${data.runs > 0
    && html`, the shortest ${number(data.shortest)}, the longest ${number(data.longest)}`}`;
}

const share = (labels) => labels.reduce((sum, label) => sum + (label > 0), 0) / labels.length;

// [from, to, label] of each stretch of equal labels that are not 0.
export function runsOf(labels) {
  const runs = [];
  for (let k = 0; k < labels.length; k += 1) {
    const last = runs.at(-1);
    if (labels[k] === 0) continue;
    if (last && last[1] === k && last[2] === labels[k]) last[1] = k + 1;
    else runs.push([k, k + 1, labels[k]]);
  }
  return runs;
}

const LEAST = 1000;
function paintedWhy(labels) {
  if (labels.length < LEAST) return `${plural(labels.length, "symbol")} can be painted here; a search needs ${number(LEAST)}`;
  const half = Math.floor(labels.length / 2);
  for (const [part, which] of [[labels.subarray(0, half), "first"], [labels.subarray(half), "second"]]) {
    if (part.every((label) =>
      label === part[0])) return `the ${which} half of this text has a single label; paint some of it: units are chosen on one half and measured on the other`;
  }
  return "";
}

// The labels painted on the text; with a brush they can be changed.
function LabelEditor({ data, labels, painting, setPainting, view, go }) {
  const [brush, setBrush] = useState(-1); // -1: no brush
  const from = useRef(-1);
  const pos = view.pos >= 0 ? Math.min(view.pos, data.symbols.length - 1) : 0;
  const largest = useMemo(() => labels.reduce((a, b) => Math.max(a, b), 1), [labels]);
  const put = (first, last, label) => {
    const next = Float32Array.from(painting ?? data.arrays.labels.data);
    next.fill(label, first, last + 1);
    setPainting(next);
    announce(`${last - first + 1} ${last > first ? "symbols" : "symbol"} labelled ${label}`);
  };
  const indexUnder = (event) => (event.target.dataset?.k === undefined ? -1 : Number(event.target.dataset.k));
  const up = (event) => {
    const to = indexUnder(event);
    if (brush >= 0 && from.current >= 0 && to >= 0) put(Math.min(from.current, to), Math.max(from.current, to), brush);
    from.current = -1;
    getSelection()?.removeAllRanges();
  };
  const onKey = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.shiftKey && step) {
      const next = Math.min(data.symbols.length - 1, Math.max(0, pos + step));
      put(Math.min(pos, next), Math.max(pos, next), brush === 0 ? 0 : 1);
      if (brush < 0) setBrush(1);
      go({ pos: next });
    } else if (event.key === " ") {
      put(pos, pos, labels[pos] > 0 ? 0 : 1);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  };
  const paint = (element, k, theme) => {
    const v = labels[k] / largest;
    const colour = table("blue", theme)[entry("blue", 0.4 * v)];
    element.style.backgroundColor = v ? css(colour) : "";
    element.style.color = v ? ink(colour) : "";
  };
  return html`<div class="stack">
    <div class="row tight"><${Choice} label="Brush" value=${brush} options=${[[-1, "view"], [1, "paint"], [0, "erase"]]} onChange=${setBrush} />
      ${painting && html`<button type="button" class="small" onClick=${() => setPainting(null)}>Back to ${data.property}</button>
        <button type="button" class="small" onClick=${() => setPainting(new Float32Array(data.symbols.length))}>Erase all</button>`}
      <span class="note">${brush < 0 ? "Most wrong findings come from wrong labels: check them first. Paint corrections, or your own labels."
        : "Drag over the text. With the keyboard, Shift and the arrow keys paint, and Space toggles one symbol."}</span></div>
    <div class=${`ranged-text ${brush >= 0 ? "brush" : ""}`} onPointerDown=${(event) => (from.current = indexUnder(event))} onPointerUp=${up}
      onKeyDownCapture=${onKey}>
      <${Passage} symbols=${data.symbols} paint=${paint} paintKey=${labels} pos=${pos} onPick=${(k) => go({ pos: k })}
        say=${(k) => `${symbolText(data.symbols[k])}, label ${Number(labels[k].toFixed(2))}`}
        label=${`the first ${plural(data.symbols.length, "symbol")} with their labels`} /></div>
    ${data.total > data.symbols.length && html`
      <p class="note">${painting ? `Only these ${number(data.symbols.length)} symbols are searched, as painted.`
      : `The first ${number(data.symbols.length)} of ${number(data.total)} symbols are shown; all are searched.`}</p>`}
  </div>`;
}

function Findings({ result, go, property }) {
  const [first] = result.findings;
  const binary = result.findings[0]?.metric === "auroc";
  const [low, high] = binary ? [0.5, 1] : [0, 1];
  const at = (score) => `${100 * Math.min(1, Math.max(0, (score - low) / (high - low)))}%`;
  const open = (finding) => go({ screen: "cells", layer: finding.layer, unit: finding.unit, signal: finding.signal, prop: property, pos: -1 });
  return html`<div class="stack">
    <p class="verdict">${sentence(first, result)}</p>
    <div class="table"><table class="found"><caption class="unseen">Units ranked by held-out ${binary ? "AUROC" : "correlation"}</caption>
      <thead><tr><th scope="col">unit</th><th scope="col">${binary ? "AUROC" : "correlation"}, held out</th><th scope="col" class="number">95 %</th>
        <th scope="col" class="number">first half</th><th scope="col" class="number">p</th>
        <th scope="col" class="number">beyond the last 8<br />characters</th><th scope="col">clamped to its mean</th><th scope="col">verdict</th>
        <th scope="col">over a stretch</th></tr></thead>
      <tbody>${result.findings.map((finding, k) => html`<tr key=${k}>
        <td><button type="button" class="small" onClick=${() => open(finding)} aria-label=${`Unit ${finding.layer}:${finding.unit} ${finding.signal} in Cells`}>
          ${finding.layer}:${finding.unit} ${finding.signal}</button></td>
        <td><span class="score"><b>${fixed(finding.score, 3)}</b>
          <i class="gauge" title=${`the best unit by chance, 99th percentile: ${fixed(finding.null, 3)}; an untrained network: ${fixed(finding.untrained,
          3)}`}><i class="fill" style=${{ width: at(finding.score) }}></i>
            <i class="whisker" style=${{ left: at(finding.interval[0]), width: `calc(${at(finding.interval[1])} - ${at(finding.interval[0])})` }}></i>
            <i class="null" style=${{ left: at(finding.null) }}></i></i></span></td>
        <td class="number nowrap" data-label="95 %">${fixed(finding.interval[0], 3)}–${fixed(finding.interval[1], 3)}</td>
        <td class="number" data-label="first half">${fixed(finding.fit_score, 3)}</td>
        <td class="number nowrap" data-label="p">${finding.p_value < 0.001 ? "< 0.001" : fixed(finding.p_value, 3)}</td>
        <td class="number" data-label="beyond the last 8 characters">${finding.gain === null ? "–" : html`${finding.gain > 0 ? "+" : ""}${fixed(finding.gain, 3)}`}</td>
        <td data-label="clamped to its mean">${ablationText(finding)}</td>
        <td><span class=${`verdict-${finding.verdict}`}>${VERDICTS[finding.verdict]}</span></td>
        <td>${result.stretch && html`<${Spark} values=${result.stretch.values[k]} labels=${result.stretch.labels} />`}</td></tr>`)}</tbody></table></div>
    <p class="note">The line | marks the score of the best unit by chance: labels shifted around the text, 99th percentile${first
      ? ` (${fixed(first.null, 3)}); an untrained network reaches ${fixed(first.untrained, 3)}` : ""}${result.last_8_characters === null ? ""
      : `, the last 8 characters alone ${fixed(result.last_8_characters,
      3)}`}. Units and their direction are chosen on the first half of the text and scored on the second; a unit is ranked by the lower of its two scores.</p>
    ${result.probe && html`
      <p class="note">All units together, by a linear probe: <b>
      ${fixed(result.probe.score, 3)}
      </b> (untrained ${fixed(result.probe.untrained, 3)})${result.probe.small.map(
      ({ cells, score }) => html`; the best ${cells.length === 1 ? "one" : cells.length} ${fixed(score, 3)}`)}.</p>`}
    ${result.stretch && html`<details>
      <summary>The text of the last column: symbols ${number(result.stretch.first)} to ${number(result.stretch.first + result.stretch.labels.length)}
      </summary><p class="passage">${result.stretch.symbols.join("")}</p></details>`}
    ${result.notes.map((note) => html`<p class="note" key=${note}>${note}</p>`)}
    <details><summary>What the verdicts mean</summary>
      <dl class="meanings">
      ${Object.entries(result.thresholds).map(([name, what]) => html`<div key=${name}><dt>${VERDICTS[name]}</dt><dd>${what}</dd></div>`)}</dl></details>
  </div>`;
}

function ablationText({ ablation, ablation_ratio: ratio, verdict }) {
  if (!ablation) return html`<span class="muted">${verdict === "tracks" ? "not tried" : "–"}</span>`;
  const times = ratio > 0 ? `, ${ratio >= 10 ? number(ratio) : fixed(ratio, 1)} ×` : "";
  return html`<span class="nowrap"
    title="cost added to the property's marks, per symbol, and its ratio to the cost of clamping units of similar variance">
      ${ablation.cost > 0 ? "+" : ""}${short(ablation.cost / Math.LN2)} bits${times}</span>`;
}
const short = (v) => String(Number(v.toPrecision(2))).replace("-", "−");

function sentence(finding, result) {
  if (!finding) return "No unit was found.";
  const name = `Unit ${finding.layer}:${finding.unit} (${finding.signal})`;
  const metric = finding.metric === "auroc" ? "AUROC" : "correlation";
  if (finding.verdict === "none") return `No unit tracks “${result.what}” better than chance: the best, ${name.toLowerCase()}, has ${metric} ${fixed(
    finding.score, 3)} on held-out text.`;
  const used = finding.verdict === "causal"
    ? `; clamped to its mean, it raises the cost of predicting ${result.marks?.length ? `its marks (${result.marks.slice(0, 4).map(symbolText).join(" ")})`
    : "its marks"} by ${short(finding.ablation.cost / Math.LN2)} bits per symbol, ${number(finding.ablation_ratio)} times as much as clamping similar units` : "";
  return `${name} ${finding.verdict === "leans" ? "may track" : "tracks"} “${result.what}”: ${metric} ${fixed(finding.score, 3)} on held-out text${used}${finding.verdict === "leans" ? "; the evidence is suggestive" : ""}.`;
}
