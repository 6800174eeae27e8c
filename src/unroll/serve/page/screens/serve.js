// Serve: the same models over the standard HTTP API: snippets to paste, their answers, and the server's load.
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { Chart } from "../frame/chart.js";
import { fixed, number, short } from "../frame/format.js";
import { Choice, Copy, Failure, Figures, Panel, Waiting } from "../frame/parts.js";
import { probe } from "../frame/probe.js";
import { isNetwork, modelOf } from "../frame/screens.js";

const FEW = 6; // models that are named; the list at the top has all
const shellQuote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function snippets(model, prompt, key) {
  const base = `${location.origin}/v1`;
  const body = { model, prompt, max_tokens: 80, temperature: 0.8 };
  const auth = key ? ` -H "Authorization: Bearer $UNROLL_API_KEY"` : "";
  return {
    python: `from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(base)}, api_key=${key ? 'os.environ["UNROLL_API_KEY"]' : '"none"'})
answer = client.completions.create(
    model=${JSON.stringify(model)},
    prompt=${JSON.stringify(prompt)},
    max_tokens=80,
    temperature=0.8,
)
print(answer.choices[0].text)`.replace(/^/, key ? "import os\n\n" : ""),
    curl: `curl ${base}/completions${auth} \\
  -H 'Content-Type: application/json' \\
  -d ${shellQuote(JSON.stringify(body))}`,
    stream: `curl -N ${base}/completions${auth} \\
  -H 'Content-Type: application/json' \\
  -d ${shellQuote(JSON.stringify({ ...body, stream: true }))}`,
    score: `from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(base)}, api_key=${key ? 'os.environ["UNROLL_API_KEY"]' : '"none"'})
answer = client.completions.create(
    model=${JSON.stringify(model)},
    prompt=${JSON.stringify(prompt)},
    max_tokens=0, echo=True, logprobs=5,
)
print(answer.choices[0].logprobs.token_logprobs)`.replace(/^/, key ? "import os\n\n" : ""),
  };
}

const KINDS = [["python", "Python"], ["curl", "curl"], ["stream", "streaming"], ["score", "score a text"]];

export default function Serve({ view, go, api, info }) {
  const model = modelOf(view, info);
  const kind = KINDS.some(([name]) => name === view.snippet) ? view.snippet : "python";
  const [words, setWords] = useState(""); // a few words that the model knows
  useEffect(() => {
    // An n-gram keeps no text, and may not know the symbols of another's: it begins at the start.
    setWords("");
    if (isNetwork(model)) api("passage", { model: model.name, length: 40 }).then((passage) => setWords(/\S+ \S+ /.exec(passage.text)?.[0] ?? ""), () => {});
  }, [model?.name]);
  const prompt = view.text.slice(-60) || words;
  const [trial, setTrial] = useState(null);
  const [busy, setBusy] = useState(false);
  const code = snippets(model.name, prompt, info.needs_key)[kind];
  const attempt = async () => {
    setBusy(true);
    const began = performance.now();
    try {
      const answer = await api("/v1/completions",
        { model: model.name, prompt, max_tokens: 80, temperature: 0.8, seed: 0, ...(kind === "score" ? { echo: true, max_tokens: 0, logprobs: 5 } : {}) });
      setTrial({ answer, ms: performance.now() - began });
    } catch (error) {
      setTrial({ error });
    } finally {
      setBusy(false);
    }
  };
  return html`<div class="grid">
    <${Panel} class="w7 stack" title="Snippet"
      aside=${html`<${Choice} label="For" value=${kind} options=${KINDS}
      onChange=${(snippet) => go({ snippet: snippet === "python" ? null : snippet }, { quiet: true })} />`}>
      <div class="code"><pre tabindex="0" aria-label="The snippet">${code}</pre><${Copy} what="the code" text=${code} /></div>
      <div class="row"><button type="button" class="main" disabled=${busy} onClick=${attempt}>${busy ? "Running…" : "Try it here"}</button>
        ${trial?.ms && html`<span class="muted">answered in ${number(trial.ms)} ms</span>`}</div>
      ${trial?.error && html`<${Failure} error=${trial.error} />`}
      ${trial?.answer && html`<div class="code"><pre tabindex="0" aria-label="The answer">${JSON.stringify(trial.answer, null, 1).slice(0, 4000)}</pre></div>`}
    <//>
    <${Panel} class="w5 stack" title="Address">
      <dl class="facts">
        <div><dt>Base</dt><dd><code>${location.origin}/v1</code> <${Copy} what="the address" text=${`${location.origin}/v1`} /></dd></div>
        <div><dt>Key</dt><dd>
          ${info.needs_key ? "the one given with --api-key, as a bearer token" : "none is needed on this machine; clients may send any"}</dd></div>
        <div><dt>Models</dt><dd>${info.models.slice(0, FEW).map(({ name }) => html`<code key=${name}>${name}</code> `)}
          ${info.models.length > FEW && html`<span class="muted">and ${number(info.models.length - FEW)} more, all those in the list at the top</span>`}</dd></div>
        <div><dt>Without the page</dt><dd>
          <code>unroll serve ${info.folder}/${model.name}</code> <${Copy} what="the command" text=${`unroll serve ${info.folder}/${model.name}`} /></dd></div>
      </dl>
      <p class="note">Completions, streaming, several choices, stop strings, log-probabilities of prompts,
        embeddings, saved states, tokenization. A model in training answers with its best weights so far.</p>
    <//>
    <${Gauges} api=${api} />
  </div>`;
}

// Prometheus' text format as {name: [{labels, value}]}.
export function parseMetrics(text) {
  const metrics = {};
  for (const line of text.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!match || line.startsWith("#")) continue;
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, name, value]) => [name, value]));
    (metrics[match[1]] ??= []).push({ labels, value: Number(match[3]) });
  }
  return metrics;
}

const total = (metrics, name) => (metrics[name] ?? []).reduce((sum, { value }) => sum + value, 0);

// The value below which a share of a histogram's observations lie, by its buckets.
export function quantile(metrics, name, share) {
  const buckets = (metrics[`${name}_bucket`] ?? []).map(({ labels, value }) => [Number(labels.le.replace("+Inf", "Infinity")), value]).sort(
    (a, b) => a[0] - b[0]);
  const observations = buckets.at(-1)?.[1] ?? 0;
  return observations ? buckets.find(([, count]) => count >= share * observations)[0] : null;
}

function Gauges({ api }) {
  const [history, setHistory] = useState([]);
  const [error, setError] = useState(null);
  const timer = useRef(0);
  useEffect(() => {
    let stopped = false;
    const ask = async () => {
      clearTimeout(timer.current);
      if (document.hidden) return;
      try {
        const metrics = parseMetrics(await api.text("/metrics"));
        if (stopped) return;
        setHistory((before) => [...before, { at: performance.now() / 1000, metrics }].slice(-62));
        setError(null);
      } catch (problem) {
        if (stopped) return;
        setError(problem);
      }
      timer.current = setTimeout(ask, 1000);
    };
    ask();
    const onVisible = () => document.hidden || ask();
    document.addEventListener("visibilitychange", onVisible);
    return () => {
      stopped = true;
      clearTimeout(timer.current);
      document.removeEventListener("visibilitychange", onVisible);
    };
  }, []);
  const rates = useMemo(() => history.slice(1).map((now, k) => {
    const before = history[k];
    return (total(now.metrics, "unroll_generated_tokens_total") - total(before.metrics, "unroll_generated_tokens_total")) / (now.at - before.at);
  }), [history]);
  const x = useMemo(() => history.slice(1).map(({ at }) => at - history.at(-1).at), [history]);
  const running = useMemo(() => history.slice(1).map(({ metrics }) => total(metrics, "unroll_requests_running")), [history]);
  const now = history.at(-1)?.metrics;
  const slots = Object.fromEntries((now?.unroll_slots ?? []).map(({ labels, value }) => [labels.state, value]));
  const first = now && quantile(now, "unroll_time_to_first_token_seconds", 0.5);
  const answers = (now?.unroll_requests_total ?? []).filter(({ labels }) => labels.route.startsWith("/v1"));
  const series = useMemo(() => [{ label: "symbols per second", values: rates, colour: "--blue" }], [rates]);
  useEffect(() => {
    if (now) probe("serve", { generated: total(now, "unroll_generated_tokens_total"), running: total(now, "unroll_requests_running") });
  }, [now]);
  return html`<${Panel} title="Load" aside=${html`<span>updated every second; all metrics at <code>/metrics</code></span>`}>
    ${error && html`<${Failure} error=${error} />`}
    ${now && html`<${Figures} of=${[
      ["running", number(running.at(-1) ?? 0), "streams"],
      ["waiting", number(total(now, "unroll_requests_waiting"))],
      slots.active + (slots.free ?? 0) > 0
        && ["slots in use", `${number(slots.active ?? 0)}${slots.free !== undefined ? ` of ${number(slots.active + slots.free + (slots.parked ?? 0))}` : ""}`],
      ["symbols/s", short(rates.at(-1) ?? 0)],
      ["written in total", short(total(now, "unroll_generated_tokens_total")), "symbols"],
      first !== null && ["first symbol, median", `≤ ${first < 1 ? `${number(1000 * first)} ms` : `${fixed(first, 1)} s`}`],
      ["answers", number(answers.reduce((sum, { value }) => sum + value, 0))],
      ["refused", number(total(now, "unroll_rejected_total"))],
    ]} />
    <${Chart} x=${x} series=${series} height=${120} xRange=${[-60, 0]} xLabel="seconds ago" yLabel="symbols/s" yText=${(v) => number(v)}
      xText=${(v) => fixed(-v, 0)} summary=${`Symbols per second over the last ${number(-(x[0] ?? 0))} seconds: ${number(rates.at(-1) ?? 0)} now`} />`}
  <//>`;
}
