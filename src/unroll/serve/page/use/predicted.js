// A model of sequences: numbers as CSV, and the label, the number or the forecast that it gives them.
import { html, useEffect, useMemo } from "../vendor/preact.js";
import { Chart } from "../frame/chart.js";
import { number, percent } from "../frame/format.js";
import { Failure, Figures, Panel, Waiting, useRequest } from "../frame/parts.js";
import { probe } from "../frame/probe.js";
import { useDraft } from "./draft.js";

const PAST = 6; // horizons of the past that are drawn before a forecast
const MISSING = new Set(["", "nan", "null", "na"]);

// The steps of a sequence from lines of numbers: {steps: [[number or null]], error}. A line of names is skipped at the top of others.
export function parseNumbers(text, channels) {
  const lines = text.split(/\r?\n/).filter((line) => line.trim());
  const steps = [];
  for (const [k, line] of lines.entries()) {
    const cells = line.split(/[,;\t]/).map((cell) => cell.trim());
    const values = cells.map((cell) => (MISSING.has(cell.toLowerCase()) ? null : Number(cell)));
    const wrong = cells.find((_, j) => values[j] !== null && !Number.isFinite(values[j]));
    if (wrong !== undefined && k === 0 && lines.length > 1) continue;
    const problem = wrong !== undefined ? `“${wrong.slice(0, 40)}” is no number` : cells.length !== channels.length ? `there are ${cells.length} numbers` : null;
    if (problem) {
      const allowed = `in each line ${channels.length === 1 ? "a number" : `${channels.length} numbers: ${channels.slice(0, 8).join(", ")}${channels.length > 8 ? ", …" : ""}`}; none where one is missing`;
      return { steps: [], error: { message: `line ${k + 1}: ${problem}`, allowed, fix: "correct the line" } };
    }
    steps.push(values);
  }
  return { steps, error: null };
}

export function Predicted({ model, view, go, api }) {
  const [content, save] = useDraft(view, go, api);
  const { steps, error: problem } = useMemo(() => parseNumbers(content ?? "", model.channels), [content, model]);
  const key = steps.length ? JSON.stringify([model.name, model.version, steps]) : null;
  const { data, error } = useRequest(key, (signal) => api("/predict", { model: model.name, sequences: [steps] }, { signal }), 200);
  const answer = problem ? null : (data?.data[0] ?? null);
  useEffect(() => {
    if (answer) probe("use", { model: model.name, steps: steps.length, ...answer });
  }, [answer]);
  const names = model.channels.length > 8 ? `${model.channels.length} channels` : model.channels.join(", ");
  return html`<div class="grid">
    <${Panel} class="w5" title="Your numbers" aside=${html`<span>${names}</span>`}>
      ${content === null ? html`<${Waiting}>Fetching the numbers…<//>`
        : html`<textarea data-text rows="10" value=${content} spellcheck="false" aria-label="Numbers, a step in each line" placeholder=${"1.5\n2.25\n…"}
            onInput=${(event) => save(event.target.value, 500)}></textarea>`}
      <p class="note">A step in each line${model.channels.length > 1 ? ", the channels separated by commas" : ""}; an empty cell is a missing value.</p>
      ${(problem || error) && html`<${Failure} error=${problem ?? error} />`}
    <//>
    ${answer ? html`<${Answer} answer=${answer} steps=${steps} model=${model} />`
      : steps.length > 0 && !error && html`<${Panel} class="w7" title="Prediction"><${Waiting}>Reading…<//><//>`}
  </div>`;
}

function Answer({ answer, steps, model }) {
  if (answer.steps) return html`<${Forecast} answer=${answer} steps=${steps} model=${model} />`;
  if (answer.labels) return html`<${Panel} class="w7" title="Labels" aside=${html`<span>%</span>`}><ol class="bars chances" aria-label="Labels and their probabilities">
    ${answer.labels.slice(0, 20).map(({ label, probability }) => html`<li key=${label}><span class="name">${label}</span>
      <span class="likely"><i class="now" style=${{ width: `${100 * probability}%` }}></i></span><span class="number">${percent(probability)}</span></li>`)}</ol><//>`;
  return html`<${Panel} class="w7" title="Prediction"><${Figures} of=${[["number", String(Number(answer.prediction.toPrecision(6)))]]} /><//>`;
}

// The last values of a series, and the quantiles of those that follow.
function Forecast({ answer, steps, model }) {
  const past = steps.slice(-PAST * model.horizon).map(([value]) => value);
  const levels = Object.keys(answer.steps[0].quantiles);
  const [low, middle, high] = [levels[0], levels[Math.floor(levels.length / 2)], levels.at(-1)];
  const count = past.length + answer.steps.length;
  const { x, series } = useMemo(() => {
    const first = steps.length - past.length + 1;
    // The lines of the forecast begin at the last known value.
    const before = past.map((value, k) => (k === past.length - 1 ? value : null));
    const line = (label, of, look) => ({ label, values: [...before, ...answer.steps.map(of)], ...look });
    return {
      x: Array.from({ length: count }, (_, k) => first + k),
      series: [
        { label: "known", values: [...past, ...answer.steps.map(() => null)], colour: "--ink" },
        line("median", ({ quantiles }) => quantiles[middle], { colour: "--blue", points: true }),
        line(`${number(100 * low)} % quantile`, ({ quantiles }) => quantiles[low], { colour: "--blue", dash: [4, 4] }),
        line(`${number(100 * high)} % quantile`, ({ quantiles }) => quantiles[high], { colour: "--blue", dash: [4, 4] }),
        ...(answer.steps[0].seasonal === null ? [] : [line("season before", ({ seasonal }) => seasonal, { colour: "--muted", dash: [1, 4] })]),
      ],
    };
  }, [answer]);
  const share = number(100 * (high - low));
  return html`<${Panel} class="w7" title="Forecast" aside=${html`<span>${number(answer.steps.length)} steps; ${share} % of values are expected between the dashed lines</span>`}>
    <${Chart} x=${x} series=${series} height=${280} xLabel="step" yLabel=${model.channels[0]}
      summary=${`The last ${past.length} values and a forecast of ${answer.steps.length} more, with its interval`} />
  <//>`;
}
