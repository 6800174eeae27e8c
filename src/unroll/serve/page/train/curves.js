// The curves of one run or of several in one chart, in one unit.
import { html, useEffect, useMemo } from "../vendor/preact.js";
import { Chart } from "../frame/chart.js";
import { fixed, number, scaleOf } from "../frame/format.js";
import { Choice } from "../frame/parts.js";
import { probe } from "../frame/probe.js";

const KINDS = [["nats", "loss"], ["grad_norm", "gradient"], ["learning_rate", "rate"], ["tokens_per_second", "speed"]];

export const CurveChoice = ({ view, go }) => html`
  <${Choice} label="Curve" value=${view.what || "nats"} options=${KINDS} onChange=${(what) => go({ what: what === "nats" ? null : what }, { quiet: true })} />
  <label class="switch">
    <input type="checkbox" checked=${view.log === "1"} onChange=${() => go({ log: view.log === "1" ? null : "1" }, { quiet: true })} /> log steps</label>`;

// The look of the curves of several runs: four colours that colour-blind readers tell apart, then the same dashed.
const LOOKS = [undefined, [6, 4]].flatMap((dash) => ["--blue", "--orange", "--violet", "--green"].map((colour) => ({ colour, dash })));

// The curves of a metric over the steps of all runs: training and validation of one run, or one curve for each of several.
function curvesOf(runs, metric, log, scale) {
  const isLoss = metric === "nats";
  const valueOf = (event, text) => (event[metric] === undefined ? null : isLoss ? scale.of(event[metric], text) : event[metric]);
  const pointsOf = (run, kind) => new Map(run.events.filter((event) => event.kind === kind && (!log || event.step >= 1)).map(
    (event) => [event.step, valueOf(event, run.text)]));
  const curves = [];
  if (runs.length === 1) {
    curves.push({ label: "training", points: pointsOf(runs[0], "train"), colour: "--blue", width: 1.4 });
    if (isLoss) curves.push({ label: "validation", points: pointsOf(runs[0], "valid"), colour: "--orange", width: 1.6, marked: true });
  } else {
    runs.forEach((run, k) => {
      const valid = isLoss ? pointsOf(run, "valid") : new Map();
      curves.push({ label: isLoss && !valid.size ? `${run.name}, training` : run.name, points: valid.size ? valid : pointsOf(run, "train"), width: 1.6,
        marked: valid.size > 0, ...LOOKS[k] });
    });
  }
  const steps = [...new Set(curves.flatMap(({ points }) => [...points.keys()]))].sort((a, b) => a - b);
  return { steps, series: curves.map(({ points, marked, ...look }) => ({ ...look, points: marked, values: steps.map((step) => points.get(step) ?? null) })) };
}

export function Curve({ data, runs, scale, view, go }) {
  const metric = view.what || "nats";
  const log = view.log === "1";
  const { steps, series } = useMemo(() => curvesOf(runs, metric, log, scale),
    [JSON.stringify(runs.map(({ name, turn, events }) => [name, turn, events.length])), metric, log, scale.unit]);
  // Simple predictors are those of one text.
  const shared = runs.every(({ text }) => JSON.stringify(text?.baselines) === JSON.stringify(data.text?.baselines));
  const lines = useMemo(() => (metric === "nats" && shared
    ? (data.text?.baselines ?? []).map(({ label, nats }) => ({ label: `${label} ${fixed(scale.of(nats))}`, value: scale.of(nats) })) : []),
  [data.text, metric, shared, scale.unit]);
  const name = KINDS.find(([kind]) => kind === metric)[1];
  const unit = { nats: scale.unit, grad_norm: "norm of the gradient", learning_rate: "learning rate", tokens_per_second: "symbols per second" }[metric];
  const label = metric === "nats" && runs.length > 1 ? `validation, ${unit}` : unit;
  const marks = useMemo(() => (metric === "nats" ? data.samples.map(({ step }) => step).filter((step) => !log || step > 0) : []),
    [data.samples.length, log, metric]);
  const pick = (k) => {
    const nearest = data.samples.reduce((best, { step }) => (Math.abs(step - steps[k]) < Math.abs(best - steps[k]) ? step : best),
      data.samples[0]?.step ?? 0);
    go({ step: String(nearest) }, { quiet: true });
  };
  const ends = series.map(({ label: of, values }) => {
    const known = values.filter((v) => v !== null);
    return `${of} from ${fixed(known[0])} to ${fixed(known.at(-1))}`;
  });
  useEffect(() => probe("curves", { unit: label, lines: lines.map(({ label: of }) => of),
    series: series.map(({ label: of, values, colour, dash }) => ({ label: of, colour, dash: dash ?? null, last: values.findLast((v) => v !== null) ?? null })) }));
  return html`<${Chart} x=${steps} series=${series} lines=${lines} marks=${marks} height=${292} xLabel="step" yLabel=${label} xLog=${log}
    yLog=${metric === "grad_norm"} onPick=${pick}
      yText=${(v) => (metric === "learning_rate" ? v.toPrecision(2) : metric === "tokens_per_second" ? number(v) : fixed(v, 3))}
    summary=${`${name} over ${number(steps.at(-1) ?? 0)} steps, ${label}: ${ends.join("; ")}${lines.length
      ? `; for comparison ${lines.map(({ label: of }) => of).join(", ")}` : ""}`} />`;
}
