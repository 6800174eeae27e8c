// Train: a model learning: its loss against simple predictors, its samples side by side, and its progress.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { clock, control, fixed, number, percent, plural, scaleOf, short } from "../frame/format.js";
import { useKeys } from "../frame/keys.js";
import { announce } from "../frame/live.js";
import { Choice, Copy, Failure, Field, Figures, Panel, Waiting } from "../frame/parts.js";
import { probe } from "../frame/probe.js";
import { isNetwork } from "../frame/screens.js";
import { reducedMotion } from "../frame/theme.js";
import { Curve, CurveChoice } from "../train/curves.js";
import { Growth } from "../train/growth.js";
import { ACTIVE, MOST_CURVES, Runs, useRuns } from "../train/runs.js";

export default function Train({ view, go, api, info, refresh }) {
  const names = [...new Set([...info.trainings.map(({ name }) => name), ...info.models.map(({ name }) => name)])];
  const active = info.trainings.find(({ state }) => ACTIVE.includes(state));
  const run = [view.run, active?.name, view.model].find((name) => names.includes(name)) ?? names[0] ?? "";
  const showsForm = view.new === "1" || !run;
  const counted = info.models.filter((model) => !isNetwork(model)).map(({ name }) => name);
  const others = (view.runs ?? "").split(",").filter((name) => names.includes(name) && name !== run && !counted.includes(name));
  const drawn = [run, ...others].slice(0, MOST_CURVES);
  const choose = (name) =>
    go({ run: name, new: null, step: null, model: info.models.some((model) => model.name === name) ? name : view.model });
  return html`
    <div class="row tight run-bar">
      <button type="button" class="plus" aria-pressed=${showsForm} onClick=${() => go({ new: "1" })}>+ New training</button>
      ${names.length > 1 && html`<span class="note">Choose a run; tick others to draw their curves beside it.</span>`}</div>
    <${Runs} names=${names} run=${showsForm ? "" : run} drawn=${showsForm ? [] : drawn} counted=${counted} info=${info} choose=${choose}
      onDraw=${(next) => go({ runs: next.filter((name) => name !== run).join(",") }, { quiet: true })} />
    ${showsForm
      ? html`<${Start} api=${api} info=${info} onStart=${(name) => { refresh(); go({ run: name, new: null, step: null }); }} />`
      : html`<${Watch} key=${run} run=${run} drawn=${drawn} counted=${counted.includes(run)} view=${view} go=${go} api=${api} info=${info} refresh=${refresh} />`}`;
}

function Watch({ run, drawn, counted, info, view, go, api, refresh }) {
  const { runs, poll } = useRuns(api, drawn);
  const { data, error } = runs[run] ?? { data: null, error: null };
  const [actionError, setActionError] = useState(null);
  const loaded = drawn.filter((name) => runs[name]?.data);
  // The server measures a text soon after its training begins; until then the model says what a symbol is.
  const symbolsOf = (name) => runs[name].data.text ?? info.models.find((model) => model.name === name);
  const all = scaleOf(loaded.map(symbolsOf));
  const scale = { ...all, of: (nats, text) => all.of(nats, text ?? symbolsOf(run)) };
  const act = async (action) => {
    try {
      setActionError(null);
      const { name } = await api(`runs/${encodeURIComponent(run)}/${action}`, {});
      announce(name ? `kept as ${name}` : { pause: "stopping after this step", resume: "resuming" }[action]);
      refresh();
      poll(run);
    } catch (problem) {
      setActionError(problem);
    }
  };
  useEffect(() => {
    if (data) probe("train",
      { run, state: data.state, step: data.step, samples: data.samples.map(({ step, text }) => ({ step, text })),
      baselines: data.text?.baselines ?? null, events: data.events.length });
  }, [data]);
  if (!data) return error ? html`<${Failure} error=${error} />` : html`<${Waiting}>Opening ${run}…<//>`;
  if (counted) return html`<${Counted} data=${data} go=${go} />`;
  const losses = data.events.filter(({ kind }) => kind === "train" || kind === "valid");
  return html`<div class="grid">
    <${Panel} class="w9" title="Loss" aside=${html`<${CurveChoice} view=${view} go=${go} />`}>
      ${losses.length > 0 ? html`
        <${Curve} data=${data} runs=${loaded.map((name) => ({ name, ...runs[name].data }))} scale=${scale} view=${view} go=${go} />` : html`<div class="begin"><div>
        ${ACTIVE.includes(data.state) ? html`<${Waiting}>${beginText(data)}<//>` : html`<p>${beginText(data)}</p>`}
        ${data.state === "starting" && html`<p class="note">Its loss appears here shortly, beside that of simple predictors.
          The model can be read and sampled before its first step, when all it writes is noise.</p>`}</div></div>`}
    <//>
    <${Now} class="w3" data=${data} scale=${scale} act=${act} actionError=${actionError ?? (error && ![0, 401].includes(error.status) ? error : null)} go=${go} run=${run} />
    <${Samples} data=${data} scale=${scale} view=${view} go=${go} />
  </div>`;
}

const beginText = (data) =>
  ({ starting: "Reading the text, choosing a size…", failed: "It did not start.", running: "The first steps…" })[data.state]
    ?? "There is no record of its training.";

// An n-gram has no curve.
function Counted({ data, go }) {
  return html`<${Panel} title="Counted, not trained">
    <p>This model is an n-gram: <code>unroll ngram</code> counted its text once, so there is no loss to watch. Its figures: <code>unroll info ${data.folder}</code>.</p>
    <p class="row"><button type="button" class="main" onClick=${() => go({ screen: "type" })}>Type to it</button>
      <button type="button" onClick=${() => go({ screen: "sample" })}>Let it write</button>
      <button type="button" onClick=${() => go({ screen: "compare" })}>Compare it</button></p><//>`;
}

const STATES = { starting: "starting", running: "learning", stopping: "saving, then pausing", paused: "paused", finished: "finished",
  failed: "failed", elsewhere: "running elsewhere" };

function Now({ data, scale, act, actionError, go, run, class: kind }) {
  const valid = data.events.findLast(({ kind }) => kind === "valid");
  const end = data.events.findLast(({ kind }) => kind === "end");
  const train = data.events.findLast(({ kind }) => kind === "train");
  const now = end?.nats ?? valid?.nats ?? train?.nats;
  const share = data.steps ? Math.min(1, data.step / data.steps) : 0;
  const beatenBaselines = now === undefined ? [] : (data.text?.baselines ?? []).filter(({ nats }) => nats > now);
  const warnings = data.events.filter(({ kind }) => kind === "warn");
  return html`<${Panel} class=${`${kind} now`}
    title=${html`<span class=${`state ${data.state}`}>
    ${ACTIVE.includes(data.state) && html`<span class="pulse" aria-hidden="true"></span>`}${STATES[data.state]}</span>`}>
    ${now !== undefined && html`<p class="big">${fixed(scale.of(now), 3)} <small>${scale.brief}${end || valid ? ", validation" : ""}</small></p>`}
    ${beatenBaselines.length > 0 && html`<p class="note">better than ${beatenBaselines.map(({ label }) => label).join(", ")}</p>`}
    <div class="meter"><progress max="1" value=${share} aria-label="Steps done"></progress>
      <p><b>${number(data.step)}</b>${data.steps ? ` of ${number(data.steps)} steps` : " steps"}</p></div>
    <${Figures} of=${[
      ACTIVE.includes(data.state) && ["left", clock(data.left ?? NaN)],
      ["so far", clock(data.seconds)],
      data.rate && ["symbols/s", short(data.rate)],
      data.steps_rate && ["steps/s", data.steps_rate.toPrecision(3)],
    ]} />
    <div class="row">
      ${data.state === "running" && html`<button type="button" class="main" onClick=${() => act("pause")}>Pause</button>`}
      ${data.state === "stopping" && html`<button type="button" onClick=${() => act("pause")}>Stop now</button>`}
      ${(data.state === "paused" || (data.state === "failed" && data.step > 0)) && html`
        <button type="button" class="main" onClick=${() => act("resume")}>Resume</button>`}
      ${data.step > 0 && html`<button type="button" onClick=${() => act("keep")} title="Copy the model as it is now into a new directory">Keep a copy</button>`}
    </div>
    ${data.text?.level && html`
      <p class="note">${plural(data.text.train_tokens,
      { char: "character", byte: "byte", word: "word", bpe: "piece" }[data.text.level])} of ${data.text.sources.join(", ")}; ${number(
      data.text.vocab_size)} symbols; validated on ${number(data.text.valid_tokens)}${data.text.held_back
        ? ", the end of the text" : " of another file"}${data.text.words ? `; ${data.text.words}` : ""}.</p>`}
    ${warnings.map(({ text }) => html`<div class="failure"><p>${text}</p></div>`)}
    ${actionError && html`<${Failure} error=${actionError} />`}
    ${data.said && html`<details open><summary>Output of the process</summary><pre class="output">${data.said}</pre></details>`}
    ${data.state === "elsewhere" && html`<p class="note">Started outside this page: it can be watched here, and paused where it was started.</p>`}
    ${(data.state === "paused" || data.state === "finished") && html`<p class="note command">
      <code>unroll ${data.state === "paused" ? "train --resume" : "sample"} ${data.folder}
      </code> <${Copy} what="the command" text=${`unroll ${data.state === "paused" ? "train --resume" : "sample"} ${data.folder}`} /></p>`}
  <//>`;
}

const DUE = [0, 100, 300, 500, 700, 1200, 2000]; // as training/loop.py takes them

// The samples of a run side by side: with the same prompt, seed and temperature, only the model changes.
function Samples({ data, scale, view, go }) {
  const { samples } = data;
  const strip = useRef(null);
  const [playing, setPlaying] = useState(false);
  const steps = samples.map(({ step }) => step);
  const chosenIndex = view.step === undefined ? -1 : steps.indexOf(Number(view.step));
  const at = chosenIndex >= 0 ? chosenIndex : samples.length - 1;
  const seenCount = useRef(samples.length);
  if (chosenIndex < 0) seenCount.current = samples.length;
  const newerCount = chosenIndex >= 0 ? samples.length - seenCount.current : 0;
  const show = (k) => {
    if (k < 0 || k >= samples.length) return;
    go({ step: String(steps[k]) }, { quiet: true });
    announce(`step ${number(steps[k])}: ${samples[k].text.slice(0, 120)}`);
  };
  useEffect(() => {
    if (!playing) return;
    if (at >= samples.length - 1) return setPlaying(false);
    const timer = setTimeout(() => show(at + 1), 1000);
    return () => clearTimeout(timer);
  }, [playing, at]);
  useEffect(() => {
    // Only the strip moves, never the page.
    const [box, card] = [strip.current, strip.current?.querySelector("[aria-current]")];
    if (!card) return;
    const [left, right] = [card.offsetLeft - box.offsetLeft - 14, card.offsetLeft - box.offsetLeft + card.offsetWidth + 14];
    const to = left < box.scrollLeft ? left : right > box.scrollLeft + box.clientWidth ? right - box.clientWidth : null;
    if (to !== null) box.scrollTo({ left: to, behavior: reducedMotion() ? "auto" : "smooth" });
  }, [at, samples.length]);
  const play = () => {
    if (!playing && at >= samples.length - 1) show(0);
    setPlaying(!playing);
  };
  useKeys(
    { ArrowLeft: () => show(at - 1), ArrowRight: () => show(at + 1), " ": play, ".": () => go({ step: null }, { quiet: true }) },
    { "← →": "previous, next sample", Space: "play the samples", ".": "latest sample" },
  );
  const dueSteps = ACTIVE.includes(data.state) ? DUE.filter((step) => step > (steps.at(-1) ?? -1) && step <= (data.steps ?? Infinity)) : [];
  if (!samples.length && !dueSteps.length) return html`<${Panel} title="Samples"><p class="note">There are no samples.</p><//>`;
  return html`<${Panel} class="samples" title="Samples" aside=${html`
      <span>the same prompt, seed and temperature${samples.length ? ` (${samples[at].temperature})`
        : ""} each time; words of the training text are highlighted</span>
      ${newerCount > 0 && html`<button type="button" class="small" onClick=${() => go({ step: null }, { quiet: true })}>${newerCount} newer</button>`}
      <button type="button" class="small" onClick=${play} disabled=${samples.length < 2}>${playing ? "Stop" : "Play"}</button>`}>
    <ol class="strip" ref=${strip}>
      ${samples.map((sample, k) => html`<li key=${sample.step} aria-current=${k === at ? "true" : undefined}>
        <button type="button" class="head" onClick=${() => show(k)}><b>${number(sample.step)}</b>
          <span>${fixed(scale.of(sample.nats))} ${scale.brief}</span>
          ${sample.known && sample.known.measures.words !== null && html`<span>${percent(sample.known.measures.words)} % words</span>`}</button>
        <div class="written" data-step=${sample.step} tabindex="0" role="group" aria-label=${`Sample at step ${sample.step}`}>
          <${SampleText} sample=${sample} /></div>
      </li>`)}
      ${dueSteps.map((step) => html`<li key=${step} class="due"><p class="head"><b>${number(step)}</b><span>to come</span></p><div class="written"></div></li>`)}
    </ol>
    ${data.style && html`<${Growth} samples=${samples} style=${data.style} at=${at} />`}
  <//>`;
}

// A sample with the words of the training text in ink and the rest in grey.
function SampleText({ sample }) {
  const letters = Array.from(sample.prompt + sample.text).map((c) => (c === "\n" || c === "\t" ? c : (control(c) ?? c)));
  const shift = Array.from(sample.prompt).length;
  if (!sample.known) return html`<span>${letters.join("")}</span>`;
  const parts = [];
  let place = shift;
  for (const [start, end] of sample.known.spans) {
    parts.push(letters.slice(place, shift + start).join(""), html`<mark>${letters.slice(shift + start, shift + end).join("")}</mark>`);
    place = shift + end;
  }
  return html`<span class="sample-text"><b>${sample.prompt}</b>${parts}${letters.slice(place).join("")}</span>`;
}

const BUDGETS = [["0.5", "30 s"], ["1", "1 min"], ["3", "3 min"], ["10", "10 min"], ["30", "30 min"]];

// A new training: a text, a budget and a few choices.
function Start({ api, info, onStart }) {
  const [source, setSource] = useState("paste");
  const [text, setText] = useState("");
  const [file, setFile] = useState(null);
  const [files, setFiles] = useState(null);
  const [fileName, setFileName] = useState("");
  const [name, setName] = useState("");
  const [minutes, setMinutes] = useState("3");
  const [arch, setArch] = useState(Object.keys(info.architectures)[0]);
  const [level, setLevel] = useState("char");
  const [size, setSize] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  useEffect(() => {
    if (info.texts) api("files").then((answer) => setFiles(answer.files), () => setFiles([]));
  }, []);
  const begin = async (event) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const plan = { arch, level, minutes: Number(minutes), name: name.trim() };
      if (size) plan.hidden_size = Number(size);
      if (source === "paste") Object.assign(plan, { source: "upload", upload: (await api("uploads", { name: "pasted", text })).id });
      if (source === "upload") Object.assign(plan, { source: "upload", upload: (await api("uploads", { name: file.name, text: await file.text() })).id });
      if (source === "file") Object.assign(plan, { source: "file", file: fileName || files[0].name });
      if (source === "demo") plan.source = "demo";
      const training = await api("train", plan);
      announce(`training ${training.name}`);
      onStart(training.name);
    } catch (problem) {
      setError(problem);
    } finally {
      setBusy(false);
    }
  };
  const ready = { paste: text.trim().length > 0, upload: file && file.size <= info.limits.upload, file: files?.length > 0, demo: true }[source];
  if (!info.can_train) return html`<${Panel} title="New training">
    <p>Training needs PyTorch, which is not installed: <code>pip install "unroll-lm[train]"</code>, or in a clone <code>pip install ".[train]"</code>.
    Existing models can be read and sampled without it.</p><//>`;
  return html`<form onSubmit=${begin} class="grid">
    <${Panel} class="w8" title="Training text" aside=${html`<${Choice} label="Source of the text" value=${source} onChange=${setSource}
      options=${[["paste", "Paste"], ["upload", "A file"], ["file", "The folder", info.texts ? undefined : "start the studio with --texts DIR"],
        ["demo", "Python's library"]]} />`}>
      ${source === "paste" && html`
        <textarea rows="12" value=${text} onInput=${(event) => setText(event.target.value)}
        placeholder="A novel, letters, code, recipes, names: at least ten thousand characters; more is better." aria-label="The text"></textarea>
        <p class="note">${number(Array.from(text).length)} characters. The text stays on this machine; it is never run as code.</p>`}
      ${source === "upload" && html`<label class="drop">
        <input type="file" accept="text/*,.txt,.md,.tex,.py,.c,.csv,.json,.jsonl,.html,.xml" onChange=${(event) => setFile(event.target.files[0] ?? null)} />
        <span>${file ? html`<b>${file.name}</b> ${short(file.size)}B` : "Choose a text file in UTF-8"}</span></label>
        ${file && file.size > info.limits.upload && html`
          <p class="bad">At most ${short(info.limits.upload)}B here; for larger files use unroll train FILE.</p>`}`}
      ${source === "file" && html`
        <${Field} label=${`Texts in ${info.texts}`}>
        ${files === null ? html`<${Waiting}>Looking…<//>` : files.length
        ? html`<select value=${fileName} onChange=${(event) => setFileName(event.target.value)}>
        ${files.map((one) => html`<option value=${one.name}>${one.name} (${short(one.bytes)}B)</option>`)}</select>`
          : html`<p class="note">There are none.</p>`}<//>`}
      ${source === "demo" && html`<p class="note">The source code of the installed Python's standard library, four megabytes.</p>`}
    <//>
    <${Panel} class="w4 stack" title="Options">
      <div><p class="label">Time</p><${Choice} label="Time" value=${minutes} options=${BUDGETS} onChange=${setMinutes} /></div>
      <div><p class="label">Network</p>
        <${Choice} label="Network" value=${arch} options=${Object.entries(info.architectures).map(([name, { label }]) => [name, label])}
        onChange=${setArch} /></div>
      <div><p class="label">A symbol is</p>
        <${Choice} label="A symbol is" value=${level} options=${[["char", "a character"], ["byte", "a byte"], ["word", "a word"]]} onChange=${setLevel} /></div>
      ${level === "word" && html`<p class="note">Where words end follows from the text, and is shown once it is read.</p>`}
      <div class="row"><${Field} label="Units">
        <input type="number" min="8" max="4096" value=${size} placeholder="automatic" onInput=${(event) => setSize(event.target.value)} /><//>
      <${Field} label="Name">
        <input type="text" value=${name} maxlength="56" pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*" placeholder="from the text"
        onInput=${(event) => setName(event.target.value)} /><//></div>
      <p class="note">The size follows from the text and the time. Training runs in its own process and continues if you close the page.</p>
      ${error && html`<${Failure} error=${error} />`}
      <button type="submit" class="main" disabled=${!ready || busy}>${busy ? "Starting…" : "Start"}</button>
    <//>
  </form>`;
}
