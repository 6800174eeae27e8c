// How like its text each sample is: a small curve for each measure over the steps, the text's own value as a dashed line.
import { html, useEffect, useState } from "../vendor/preact.js";
import { number } from "../frame/format.js";
import { Table, TableButton } from "../frame/parts.js";
import { probe } from "../frame/probe.js";

const [WIDE, HIGH, EDGE] = [150, 56, 4];

// What each measure says, in the words of docs/evolution.md.
const WHAT = {
  words: "words that the text has", pairs: "pairs of words that the text has", punctuation: "marks, where and how often the text has them",
  capitals: "capitals, where and how often the text has them", closing: "brackets and quotes that close",
  environments: "LaTeX environments that close", math: "mathematics that closes", braces: "braces of C that close", comments: "comments of C that close",
  lines: "lines of C tokens", links: "links that close", speakers: "paragraphs with a speaker",
};
const KINDS = { latex: "LaTeX", c: "C", wiki: "wiki markup", play: "a play", plain: "prose" };
const whole = (share) => (share === null ? "–" : `${Math.round(100 * share)}`);

export function Growth({ samples, style, at }) {
  const [asTable, setAsTable] = useState(false);
  const known = samples.filter((sample) => sample.known);
  const names = Object.keys(style.ceiling);
  const chosen = samples[at];
  useEffect(() => probe("growth", { names, ceiling: style.ceiling, measures: known.map((sample) => sample.known.measures) }));
  if (!known.length) return null;
  return html`<div class="growth">
    <p class="row"><span class="grow">How like the text, in percent: the sample at each step, ${style.kind
      ? html`and text held out (dashed). It is read as ${KINDS[style.kind]}.` : "and text held out (dashed)."}</span>
      <${TableButton} shown=${asTable} of="measures by step" onClick=${() => setAsTable(!asTable)} /></p>
    ${asTable ? html`<${Table} caption="How like the text the samples are, in percent" rows=${[...known, null]}
      columns=${[["step", (sample) => (sample ? number(sample.step) : "text"), "number"],
      ...names.map((name) => [name, (sample) => whole((sample ? sample.known.measures : style.ceiling)[name]), "number"])]} />`
      : html`<ul>${names.map((name) => html`<li key=${name}>
        <${Small} name=${name} samples=${known} chosen=${chosen} ceiling=${style.ceiling[name]} /></li>`)}</ul>`}
  </div>`;
}

function Small({ name, samples, chosen, ceiling }) {
  const points = samples.map(({ step, known }) => ({ step, share: known.measures[name] })).filter(({ share }) => share !== null);
  const last = Math.log1p(samples.at(-1).step / 100) || 1;
  const x = (step) => EDGE + (WIDE - 2 * EDGE) * (Math.log1p(step / 100) / last);
  const y = (share) => EDGE + (HIGH - 2 * EDGE) * (1 - share);
  const now = chosen?.known?.measures[name] ?? null;
  const summary = points.length ? `${WHAT[name]}: ${points.map(({ step, share }) => `step ${number(step)} ${whole(share)} %`).join(", ")}; the text ${
    ceiling === null ? "unknown" : `${whole(ceiling)} %`}` : `${WHAT[name]}: too few to measure`;
  return html`<p title=${WHAT[name]}>${name} <b>${whole(now)}</b> <small>${ceiling === null ? "" : `of ${whole(ceiling)}`}</small></p>
    <svg viewBox=${`0 0 ${WIDE} ${HIGH}`} role="img" aria-label=${summary}>
      <path class="floor" d=${`M0 ${HIGH - 0.5}H${WIDE}`} />
      ${ceiling !== null && html`<path class="ceiling" d=${`M0 ${y(ceiling).toFixed(1)}H${WIDE}`} />`}
      <path class="curve" d=${points.map(({ step, share }, k) => `${k ? "L" : "M"}${x(step).toFixed(1)} ${y(share).toFixed(1)}`).join("")} />
      ${points.map(({ step, share }) => html`<circle key=${step} class=${step === chosen?.step ? "here" : ""} cx=${x(step).toFixed(1)}
        cy=${y(share).toFixed(1)} r=${step === chosen?.step ? 3.6 : 1.8} />`)}</svg>`;
}
