// The arithmetic of a cell at one symbol: what it keeps, writes and outputs.
import { html } from "../vendor/preact.js";
import { css, entry, ink, table } from "../frame/colour.js";
import { symbolText } from "../frame/format.js";
import { useTheme } from "../frame/theme.js";
import { value } from "./figures.js";

// A number on its own colour.
function Chip({ x, y, v, name, map = "diverging", reach = 1, wide = 62 }) {
  const theme = useTheme();
  const colour = table(map, theme)[entry(map, v / reach)];
  return html`<g>
    <rect x=${x - wide / 2} y=${y - 13} width=${wide} height="26" rx="5" fill=${css(colour)} class="chip" />
    <text x=${x} y=${y + 4.5} class="mid" fill=${ink(colour)}>${map === "diverging" ? value(v) : v.toFixed(2)}</text>
    <text x=${x} y=${y - 18} class="mid name">${name}</text>
  </g>`;
}
const Op = ({ x, y, sign }) => html`<g class="op"><circle cx=${x} cy=${y} r="10" /><text x=${x} y=${y + 4.5} class="mid">${sign}</text></g>`;
const Line = ({ d, strong = 1 }) => html`<path d=${d} class="wire" style=${{ strokeWidth: String(1 + 3 * Math.min(1, Math.abs(strong))) }} />`;

function LstmSums({ now, before, reach }) {
  const { i, f, g, o, c, h } = now;
  const carried = f * before.c;
  const addition = i * g;
  return html`<svg viewBox="0 0 400 236" class="sums" aria-hidden="true">
    <${Line} d="M62 72 H146" strong=${before.c / reach} /><${Line} d="M166 72 H226" strong=${carried / reach} />
    <${Line} d="M246 72 H300" strong=${c / reach} />
    <${Line} d="M156 28 V62" strong=${f} />
    <${Line} d="M72 172 H146" strong=${g} /><${Line} d="M156 216 V182" strong=${i} /><${Line} d="M166 172 H236 V82" strong=${addition / reach} />
    <${Line} d="M331 85 V116" strong=${c / reach} /><${Line} d="M331 140 V162" strong=${Math.tanh(c)} /><${Line} d="M321 172 H304" strong=${o} />
      <${Line} d="M331 182 V203" strong=${h} />
    <${Chip} x=${36} y=${72} v=${before.c} name="c before" reach=${reach} />
    <${Chip} x=${156} y=${20} v=${f} name="" map="orange" /><text x="194" y="24" class="name">f, forget</text>
    <${Op} x=${156} y=${72} sign="×" /><text x="196" y="62" class="mid small">${value(carried)} kept</text>
    <${Op} x=${236} y=${72} sign="+" />
    <${Chip} x=${331} y=${72} v=${c} name="c" reach=${reach} />
    <${Chip} x=${36} y=${172} v=${g} name="g, candidate" />
    <${Op} x=${156} y=${172} sign="×" /><text x="200" y="162" class="mid small">${value(addition)} written</text>
    <${Chip} x=${156} y=${216} v=${i} name="" map="orange" /><text x="194" y="220" class="name">i, input</text>
    <g class="op"><rect x="306" y="116" width="50" height="24" rx="12" /><text x="331" y="132.5" class="mid">tanh</text></g>
    <${Op} x=${331} y=${172} sign="×" /><${Chip} x=${277} y=${172} v=${o} name="o, output" map="orange" wide=${54} />
    <${Chip} x=${331} y=${216} v=${h} name="" /><text x="368" y="220" class="name">h</text>
  </svg>`;
}

function GruSums({ now, before }) {
  const { z, n, h } = now;
  return html`<svg viewBox="0 0 400 200" class="sums" aria-hidden="true">
    <${Line} d="M62 60 H146" strong=${before.h} /><${Line} d="M156 34 V50" strong=${z} /><${Line} d="M166 60 H226" strong=${z * before.h} />
      <${Line} d="M246 60 H300" strong=${h} />
    <${Line} d="M62 150 H146" strong=${n} /><${Line} d="M156 178 V160" strong=${1 - z} /><${Line} d="M166 150 H236 V70" strong=${(1 - z) * n} />
    <${Chip} x=${36} y=${60} v=${before.h} name="h before" /><${Chip} x=${156} y=${22} v=${z} name="" map="orange" />
      <text x="194" y="26" class="name">z, update</text>
    <${Op} x=${156} y=${60} sign="×" /><text x="200" y="50" class="mid small">${value(z * before.h)} kept</text><${Op} x=${236} y=${60} sign="+" />
      <${Chip} x=${331} y=${60} v=${h} name="h" />
    <${Chip} x=${36} y=${150} v=${n} name="n, candidate" /><${Op} x=${156} y=${150} sign="×" />
      <text x="204" y="140" class="mid small">${value((1 - z) * n)} written</text>
    <${Chip} x=${156} y=${186} v=${1 - z} name="" map="orange" /><text x="194" y="190" class="name">1 − z</text>
    <${Chip} x=${331} y=${150} v=${now.r} name="r, reset" map="orange" />
  </svg>`;
}

function MinGruSums({ now, before, reach }) {
  const { z, n, h } = now;
  const [carried, addition] = [(1 - z) * before.h, z * n];
  return html`<svg viewBox="0 0 400 200" class="sums" aria-hidden="true">
    <${Line} d="M62 60 H146" strong=${before.h / reach} /><${Line} d="M156 34 V50" strong=${1 - z} />
      <${Line} d="M166 60 H226" strong=${carried / reach} /><${Line} d="M246 60 H300" strong=${h / reach} />
    <${Line} d="M62 150 H146" strong=${n / reach} /><${Line} d="M156 178 V160" strong=${z} /><${Line} d="M166 150 H236 V70" strong=${addition / reach} />
    <${Chip} x=${36} y=${60} v=${before.h} name="h before" reach=${reach} /><${Chip} x=${156} y=${22} v=${1 - z} name="" map="orange" />
      <text x="194" y="26" class="name">1 − z</text>
    <${Op} x=${156} y=${60} sign="×" /><text x="200" y="50" class="mid small">${value(carried)} kept</text><${Op} x=${236} y=${60} sign="+" />
      <${Chip} x=${331} y=${60} v=${h} name="h" reach=${reach} />
    <${Chip} x=${36} y=${150} v=${n} name="n, candidate" reach=${reach} /><${Op} x=${156} y=${150} sign="×" />
      <text x="204" y="140" class="mid small">${value(addition)} written</text>
    <${Chip} x=${156} y=${186} v=${z} name="" map="orange" /><text x="194" y="190" class="name">z, update</text>
  </svg>`;
}

function RnnSums({ now }) {
  const { from_input: fromInput, from_state: fromState, h } = now;
  return html`<svg viewBox="0 0 400 150" class="sums" aria-hidden="true">
    <${Line} d="M120 40 H160 L186 66" strong=${fromInput / 3} /><${Line} d="M120 116 H160 L186 90" strong=${fromState / 3} />
      <${Line} d="M206 78 H236" strong=${(fromInput + fromState) / 3} /><${Line} d="M290 78 H320" strong=${h} />
    <${Chip} x=${84} y=${40} v=${fromInput} name="from the symbol, W x + b" reach=${3} wide=${70} />
      <${Chip} x=${84} y=${116} v=${fromState} name="from the state, Wₕ h₋₁ + bₕ" reach=${3} wide=${70} />
    <${Op} x=${196} y=${78} sign="+" /><g class="op"><rect x="238" y="66" width="50" height="24" rx="12" /><text x="263" y="82.5" class="mid">tanh</text></g>
    <${Chip} x=${352} y=${78} v=${h} name="h" />
  </svg>`;
}

// The same as equations, for screen readers.
export function equations(arch, now, before) {
  const v = (x) => value(x, 3);
  if (arch === "lstm") {
    return [
      `f·c₋₁ + i·g = ${now.f.toFixed(3)} · ${v(before.c)} + ${now.i.toFixed(3)} · ${v(now.g)} = ${v(now.c)} = c`,
      `o · tanh c = ${now.o.toFixed(3)} · ${v(Math.tanh(now.c))} = ${v(now.h)} = h`,
    ];
  }
  if (arch === "gru") return [`(1 − z)·n + z·h₋₁ = ${(1 - now.z).toFixed(3)} · ${v(now.n)} + ${now.z.toFixed(3)} · ${v(before.h)} = ${v(now.h)} = h`];
  if (arch === "mingru") return [`(1 − z)·h₋₁ + z·n = ${(1 - now.z).toFixed(3)} · ${v(before.h)} + ${now.z.toFixed(3)} · ${v(now.n)} = ${v(now.h)} = h`];
  if (arch === "rnn") return [
    `tanh(W x + b + Wₕ h₋₁ + bₕ) = tanh(${v(now.from_input)} ${now.from_state < 0 ? "−" : "+"} ${Math.abs(now.from_state).toFixed(3)}) = ${v(now.h)} = h`];
  return [`h = ${v(now.h)}: computed from the last inputs alone`];
}

// An equation breaks before an equals sign, but never before its last one.
const Equation = ({ line }) => html`<p>${line.split(/ (?== )(?!= \S+$)/).map(
  (part, k) => html`${k ? " " : ""}<span class="unbroken">${part}</span>`)}</p>`;

const PICTURES = { lstm: LstmSums, gru: GruSums, mingru: MinGruSums, rnn: RnnSums };

export function Sums({ arch, now, before, reach, symbol }) {
  const Picture = PICTURES[arch];
  return html`<div class="at-cursor">
    <p class="note">After reading <b class="sym">${symbolText(symbol)}</b></p>
    ${Picture && html`<${Picture} now=${now} before=${before} reach=${reach} />`}
    <div class="equations" data-sums>${equations(arch, now, before).map((line) => html`<${Equation} key=${line} line=${line} />`)}</div>
  </div>`;
}
