// How often gates are open or closed: each unit a dot, as in Karpathy et al. 2015, figure 3.
import { html, useState } from "../vendor/preact.js";
import { percent } from "../frame/format.js";
import { Choice, Table, TableButton } from "../frame/parts.js";

const SIDE = 232;
const at = (share) => 8 + share * (SIDE - 16);

export function Gates({ use, unit, onPick }) {
  const [gateName, setGateName] = useState("f");
  const [asTable, setAsTable] = useState(false);
  const gate = use.gates.find(({ name }) => name === gateName) ?? use.gates[0];
  const { open, closed } = gate;
  const openCount = open.filter((share) => share > 0.5).length;
  const closedCount = closed.filter((share) => share > 0.5).length;
  const summary = [
    `${gate.word} of ${open.length} units: ${openCount} are open more than half of the time, ${closedCount} are closed more than half of the time`,
    `unit ${unit} is open ${percent(open[unit])} % and closed ${percent(closed[unit])} % of the time`,
  ].join("; ");
  // Units by how often they are open: the arrow keys walk along them.
  const order = open.map((_, k) => k).sort((a, b) => open[a] - open[b] || closed[b] - closed[a] || a - b);
  const onKey = (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const next = order[order.indexOf(unit) + step];
    if (next !== undefined) onPick(next);
  };
  const onClick = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const [x, y] = [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
    const distance = (k) => (at(open[k]) - x) ** 2 + (SIDE - at(closed[k]) - y) ** 2;
    onPick(order.reduce((best, k) => (distance(k) < distance(best) ? k : best)));
  };
  const timeConstant = use.time_constants?.[unit];
  return html`<div class="stack">
    <div class="row tight">
      <${Choice} label="Gate" value=${gate.name} options=${use.gates.map(({ name, word }) => [name, `${name}, ${word}`])} onChange=${setGateName} /></div>
    <svg viewBox=${`0 0 ${SIDE} ${SIDE}`} class="dots" tabindex="0" role="img" aria-label=${summary} onKeyDown=${onKey} onClick=${onClick}>
      <rect x="8" y="8" width=${SIDE - 16} height=${SIDE - 16} class="frame" /><path d=${`M8 8 L${SIDE - 8} ${SIDE - 8}`} class="edge" />
      ${open.map((share, k) => html`<circle key=${k} cx=${at(share)} cy=${SIDE - at(closed[k])} r="2.6" />`)}
      <circle cx=${at(open[unit])} cy=${SIDE - at(closed[unit])} r="5.5" class="chosen" />
      <text x=${SIDE - 12} y=${SIDE - 14} class="end">open (above 0.9) →</text><text x="14" y="22">↑ closed (below 0.1)</text>
    </svg>
    <p class="note">Unit ${unit}: ${gate.word} open ${percent(open[unit])} %, closed ${percent(closed[unit])} % of the time${use.time_constants
      ? html`; its memory decays to 1/e in <b>
      ${timeConstant === null ? "no finite time" : timeConstant < 0.95 ? "less than a symbol" : `${Number(timeConstant.toPrecision(3))} symbols`}</b>` : ""}.</p>
    <${TableButton} shown=${asTable} of=${gate.word} onClick=${() => setAsTable(!asTable)} />
    ${asTable && html`<${Table} caption=${summary} rows=${[...order].reverse()}
      columns=${[["unit", (k) => k, "number"], ["open, %", (k) => percent(open[k]), "number"], ["closed, %", (k) => percent(closed[k]), "number"]]} />`}
  </div>`;
}
