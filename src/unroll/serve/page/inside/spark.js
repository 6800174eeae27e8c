// A sparkline of a unit over a stretch of text, on bands for the labels.
import { html } from "../vendor/preact.js";

const [WIDE, HIGH] = [180, 34];

export function Spark({ values, labels }) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const maximum = Math.max(...labels, 1e-9);
  const x = (k) => (k * WIDE) / Math.max(1, values.length - 1);
  const y = (v) => 2 + (HIGH - 10) * (1 - (v - low) / (high - low || 1));
  return html`<svg class="spark" viewBox=${`0 0 ${WIDE} ${HIGH}`} width=${WIDE} height=${HIGH} role="img"
    aria-label=${`from ${low.toFixed(2)} to ${high.toFixed(2)}`}>
    ${bands(labels).map(([from, to, label]) => html`
      <rect key=${from} x=${x(from)} y="0" width=${Math.max(0.5, x(to) - x(from))} height=${HIGH}
      style=${{ opacity: String(0.06 + 0.2 * (label / maximum)) }} />`)}
    <path d=${values.map((v, k) => `${k ? "L" : "M"}${x(k).toFixed(1)} ${y(v).toFixed(1)}`).join("")} /></svg>`;
}

function bands(labels) {
  const spans = [];
  labels.forEach((label, k) => {
    const last = spans.at(-1);
    if (label === 0) return;
    if (last && last[1] === k && last[2] === label) last[1] = k + 1;
    else spans.push([k, k + 1, label]);
  });
  return spans;
}
