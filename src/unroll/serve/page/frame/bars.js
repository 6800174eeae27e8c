// The distribution of the next symbol as bars: the model's own, and the sampler's.
import { html } from "../vendor/preact.js";
import { percent, symbolText } from "./format.js";
import { Slider } from "./parts.js";
import { reweigh, writtenAt } from "./reweigh.js";

export function Bars({ next, options, count = 12, onPick, actual, label = "Possible next symbols" }) {
  const sampled = reweigh(next, options);
  const probabilities = next.nats.map((nats) => Math.exp(-nats));
  const rows = probabilities.map((p, k) => ({ p, q: sampled[k], k })).sort((a, b) => b.q - a.q || b.p - a.p).slice(0, count);
  const rest = Math.max(0, 1 - rows.reduce((sum, { q }) => sum + q, 0));
  const remaining = next.nats.length - rows.length;
  const axisEnd = [0.25, 0.5, 1].find((end) => rows.every(({ p, q }) => Math.max(p, q) <= end));
  const width = (v) => ({ width: `${(100 * v) / axisEnd}%` });
  return html`<ol class="bars" aria-label=${label}>
    <li class="axis" aria-hidden="true"><span></span><span><i>0</i><i>${100 * axisEnd} %</i></span><span>%</span></li>
    ${rows.map(({ p, q, k }) => html`<li key=${next.ids[k]} class=${`${q === 0 ? "out" : ""} ${next.symbols[k] === actual ? "actual" : ""}`}>
      <button type="button" disabled=${!onPick} onClick=${() => onPick?.(writtenAt(next, k), next.ids[k])}
        aria-label=${`${symbolText(next.symbols[k])}, ${percent(q)} percent${p !== q ? `, ${percent(p)} before the sampler` : ""}`}>
        <span class="sym">${symbolText(next.symbols[k])}</span>
        <span class="likely"><i class="own" style=${width(p)}></i><i class="now" style=${width(q)}></i></span>
        <span class="number">${percent(q)}</span>
      </button></li>`)}
    ${remaining > 0 && html`<li class="rest"><span class="sym">…</span><span>${remaining} more${next.rest > 0 ? " and the rest" : ""}</span>
      <span class="number">${percent(rest)}</span></li>`}
  </ol>`;
}

const STEPS_K = [0, 1, 2, 3, 4, 5, 8, 10, 15, 20, 30, 40, 50, 100];

// The sampler's four sliders; they keep t, k, p, m in the address.
export function Sampler({ options, go }) {
  const k = STEPS_K.findIndex((v) => v >= options.top_k);
  return html`<div class="sampler">
    <${Slider} label="Temperature" min="0" max="2" step="0.05" value=${options.temperature} text=${options.temperature.toFixed(2)}
      hint="Below 1 sharper, above 1 flatter; 0 takes the most probable" onInput=${(v) => go({ t: v === 1 ? null : String(v) }, { quiet: true })} />
    <${Slider} label="Top k" min="0" max=${STEPS_K.length - 1} step="1" value=${Math.max(0, k)} text=${options.top_k || "off"}
      hint="Only the k most probable symbols" onInput=${(v) => go({ k: STEPS_K[v] ? String(STEPS_K[v]) : null }, { quiet: true })} />
    <${Slider} label="Top p" min="0.05" max="1" step="0.05" value=${options.top_p} text=${options.top_p < 1 ? options.top_p.toFixed(2) : "off"}
      hint="Only the most probable symbols that together reach p" onInput=${(v) => go({ p: v < 1 ? String(v) : null }, { quiet: true })} />
    <${Slider} label="Min p" min="0" max="0.5" step="0.01" value=${options.min_p} text=${options.min_p ? options.min_p.toFixed(2) : "off"}
      hint="Only symbols with at least this share of the highest probability" onInput=${(v) => go({ m: v ? String(v) : null }, { quiet: true })} />
  </div>`;
}
