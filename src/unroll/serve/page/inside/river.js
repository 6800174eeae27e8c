// One network unrolled over a text, as textbooks draw it: inputs below, states in a row, predictions and losses above,
// and the gradient of one loss as a stream that flows back through the states, as wide as its norm.
import { html } from "../vendor/preact.js";
import { css, entry, ink, table } from "../frame/colour.js";
import { bits, fixed, symbolText } from "../frame/format.js";
import { useTheme } from "../frame/theme.js";
import { size } from "./figures.js";

const LEFT = 74;
const SUM = 112; // for the sum of the losses, at the right
const BOX = 46;
const WIDEST = 58;
const LOSS = 62; // the line on which losses stand
const GUESS = 84;
const LINE = 13;
const FEW = 4;
const STATE = 194; // the middle of the states
const FIGURES = 242;
const INPUT = 282;
const END = 304;
const DECADES = 6;

// The width of a step: what its symbols need, or more where there is room.
export function widthOf(symbols, room = 0) {
  const longest = Math.max(...symbols.map((symbol) => symbolText(symbol).length));
  return Math.min(112, Math.max(BOX + 8, 9 * longest + 18, Math.min(76, Math.floor((room - LEFT - SUM) / symbols.length))));
}

// The guesses shown at a step: the most probable symbols, with the actual one among them.
export function guessesAt(network, t) {
  const guesses = network.guesses[t].slice(0, FEW);
  const actual = network.names[t];
  if (!guesses.some(({ symbol }) => symbol === actual)) guesses[FEW - 1] = { symbol: actual, p: Math.exp(-network.nats[t]) };
  return guesses.map((guess) => ({ ...guess, actual: guess.symbol === actual }));
}

// network: one model of the server's answer; t: the step whose loss flows back; kind: the signal of the gradient; most:
// the size at full width; log: logarithmic widths; upto: the last step that has been read.
export function River({ network, t, kind, most, log, upto, onPick, summary, most_nats: top, room }) {
  const theme = useTheme();
  const count = network.symbols.length;
  const stepWidth = widthOf(network.symbols, room);
  const label = 20 + Math.max(0, 0.6 * (stepWidth - 62)); // the part of it for a guess's symbol
  const x = (k) => LEFT + (k + 0.5) * stepWidth;
  const flow = network.flow[kind] ?? network.flow.x;
  const row = flow[t];
  const window = network.window;
  const width = (v) => {
    if (v === null) return WIDEST;
    if (!v || !most) return 0;
    return WIDEST * Math.min(1, log ? Math.max(0, 1 + Math.log10(v / most) / DECADES) : v / most);
  };
  const upper = Math.max(...network.flow.x[t].filter((v) => v !== null), 1e-300);
  const diverging = table("diverging", theme);
  const orange = table("orange", theme);
  const signals = Object.keys(network.states).sort(); // c above h
  const reachOf = (name) => Math.max(1, ...network.states[name].flat().map(Math.abs)); // 1 for a bounded signal
  const total = LEFT + count * stepWidth + SUM;
  const pick = (event) => {
    const step = event.target.closest("[data-step]")?.dataset.step;
    if (step !== undefined) onPick(Number(step));
  };
  const sum = network.nats.slice(0, upto + 1).reduce((a, b) => a + b, 0);

  return html`<svg class="river" viewBox=${`0 0 ${total} ${END}`} width=${total} height=${END} role="img" aria-label=${summary} onClick=${pick}>
    <g class="rows"><text x="0" y=${LOSS - 4}>loss, bits</text>
      <text x="0" y=${GUESS + 22}>guess</text>
      ${signals.map((name, k) => html`
      <text key=${name} x="0" y=${STATE + 4 + (signals.length > 1 ? 26 * k - 13 : 0)}>${{ c: "cell c", h: window ? "h" : "state h" }[name]}</text>`)}
      <text x="0" y=${FIGURES}>${window ? "" : "‖∂loss‖"}</text><text x="0" y=${INPUT + 5}>input</text></g>
    ${!window && html`<${Stream} row=${row} x=${x} width=${width} t=${t} />`}
    ${window && html`<g class="seen">
      ${network.flow.x[t].map(
      (v, k) => (t - k < window
      ? html`<path key=${k} d=${`M${x(k)} ${INPUT - 15} L${x(t)} ${STATE + 14}`} style=${{ strokeWidth: String(Math.max(1, width(v) / 8)) }} />` : null))}</g>`}
    <path class="stream" d=${lossPath(x(t), width(row[t]))} />
    ${network.symbols.map((symbol, k) => {
      const later = k > upto;
      const height = 46 * Math.min(1, network.nats[k] / top);
      const v = network.flow.x[t][k];
      const input = k === 0 ? "start" : symbolText(network.symbols[k - 1]);
      const paper = k <= t && v !== null ? orange[entry("orange", v / upper)] : orange[0];
      return html`<g key=${k} data-step=${k} class=${`step ${k === t ? "chosen" : ""} ${later ? "later" : ""}`}>
        <title>${stepText(network, k)}</title>
        <rect class="hit" x=${x(k) - stepWidth / 2} y="0" width=${stepWidth} height=${END} />
        <path class="up" d=${`M${x(k)} ${INPUT - 14} V${STATE + (signals.length > 1 ? 24 : 11)}`} />
          <path class="up" d=${`M${x(k)} ${STATE - (signals.length > 1 ? 24 : 11)} V${GUESS + FEW * LINE + 2}`} />
        ${k < count - 1 && !window && signals.map((name, place) => {
          const y = STATE + (signals.length > 1 ? 26 * place - 13 : 0);
          return html`<path key=${name} class="on" d=${`M${x(k) + BOX / 2} ${y} H${x(k + 1) - BOX / 2}`} />`;
        })}
        <rect class="loss" x=${x(k) - 9} y=${LOSS - height} width="18" height=${Math.max(1, height)} rx="1.5" />
        <text class="bits mid" x=${x(k)} y=${LOSS - height - 4}>${fixed(bits(network.nats[k]))}</text>
        ${k > 0 && html`<text class="plus mid" x=${x(k) - stepWidth / 2} y=${LOSS}>+</text>`}
        ${guessesAt(network, k).map((guess, place) => html`<g key=${place} class=${`guess ${guess.actual ? "actual" : ""}`}>
          <text x=${x(k) - stepWidth / 2 + label} y=${GUESS + place * LINE + 9} class="end">${clip(symbolText(guess.symbol), label - 2, 6.7)}</text>
          <rect x=${x(k) - stepWidth / 2 + label + 4} y=${GUESS + place * LINE + 1} width=${Math.max(0.8, guess.p * (stepWidth - label - 11))} height="9" rx="1" /></g>`)}
        ${signals.map((name, place) => html`
          <${Units} key=${name} values=${network.states[name][k]} x=${x(k)} y=${STATE + (signals.length > 1 ? 26 * place - 13 : 0)}
          reach=${reachOf(name)} colours=${diverging} />`)}
        ${k <= t && !window && html`<text class="size mid" x=${x(k)} y=${FIGURES}>${size(row[k])}</text>`}
        <rect class="input" x=${x(k) - stepWidth / 2 + 8} y=${INPUT - 14} width=${stepWidth - 16} height="27" rx="4" fill=${css(paper)} />
        <text class=${`symbol mid ${k === 0 ? "start" : ""}`} x=${x(k)} y=${INPUT + 5} fill=${ink(paper)}>
          ${k === 0 ? input : clip(input, stepWidth - 20, 8.5)}</text>
        ${window && t - k >= window && k <= t && html`<path class="blind" d=${`M${x(k) - 14} ${INPUT + 8} L${x(k) + 14} ${INPUT - 8}`} />`}
      </g>`;
    })}
    <g class="sum"><text x=${LEFT + count * stepWidth + 6} y=${LOSS}>= ${fixed(bits(sum), 1)} bits</text>
      <text class="small" x=${LEFT + count * stepWidth + 6} y=${LOSS + 16}>
      ${upto < count - 1 ? `of ${upto + 1} steps` : `${fixed(bits(sum) / count)} each`}</text></g>
  </svg>`;
}

// A name cut to a width; `letter` is pixels per letter.
const clip = (text, width, letter) => (text.length * letter > width ? `${text.slice(0, Math.max(1, Math.floor(width / letter) - 1))}…` : text);

// The stream from a loss down to its state.
const lossPath = (x, width) => `M${x - width / 2} ${STATE} L${x - Math.max(1, width / 5)} ${LOSS} H${x + Math.max(1, width / 5)} L${x + width / 2} ${STATE} Z`;

// The stream from state t back to the first, as wide at each state as the gradient there.
function Stream({ row, x, width, t }) {
  if (t === 0) return null;
  const at = row.slice(0, t + 1).map((v, k) => [x(k), width(v) / 2]);
  const curve = (side) => {
    const points = side > 0 ? [...at].reverse() : at;
    return points.map(([px, half], k) => {
      const y = STATE + side * half;
      if (!k) return `${side > 0 ? "M" : "L"}${px} ${y}`;
      const middle = (points[k - 1][0] + px) / 2;
      return `C${middle} ${STATE + side * points[k - 1][1]} ${middle} ${y} ${px} ${y}`;
    }).join(" ");
  };
  const last = row.findLastIndex((v, k) => k < t && width(v) < 0.6);
  return html`<g><path class="stream" d=${`${curve(1)} ${curve(-1)} Z`} />
    <path class="drift" d=${`M${x(t)} ${STATE} H${x(Math.max(0, last))}`} />
    ${at.slice(1).map(([px], k) => (k > last ? html`<path key=${k} class="head" d=${head((px + at[k][0]) / 2, Math.min(9, 2.5 + at[k][1] / 3))} />` : null))}
    ${last >= 0 && html`<path class="vanished" d=${`M${x(last)} ${STATE} H${x(0)}`} />`}</g>`;
}

// A small arrow head that points back.
const head = (x, size) => `M${x + size / 2} ${STATE - size / 2} L${x - size / 2} ${STATE} L${x + size / 2} ${STATE + size / 2} Z`;

// Units of a state as small squares, coloured by their values.
function Units({ values, x, y, reach, colours }) {
  const columns = 8;
  const rows = Math.ceil(values.length / columns);
  return html`<g class="units"><rect class="box" x=${x - BOX / 2} y=${y - 11} width=${BOX} height="22" rx="3.5" />
    ${values.map((v, k) => html`
      <rect key=${k} x=${x - 20 + 5 * (k % columns)} y=${y - 2.5 * rows + 5 * Math.floor(k / columns)} width="5" height="5"
      fill=${css(colours[entry("diverging", v / reach)])} />`)}</g>`;
}

export function stepText(network, k) {
  const [best] = network.guesses[k];
  const p = Math.exp(-network.nats[k]);
  return `step ${k}: reads ${k === 0 ? "the start"
    : symbolText(network.symbols[k - 1])}, expects ${symbolText(best.symbol)} (${fixed(best.p)}); ${symbolText(network.symbols[k])} follows (${p < 0.005
    ? p.toExponential(0) : fixed(p)}), loss ${fixed(bits(network.nats[k]))} bits`;
}

// How far the gradient of loss t reaches back, in words.
export function reachText(network, t, kind) {
  const row = network.flow[kind] ?? network.flow.x;
  const sizes = row[t];
  if (network.window) return `it sees the last ${Math.min(network.window, t + 1)} inputs; for all others the gradient is exactly 0`;
  if (t === 0) return "there is no step before it";
  if (!sizes[t]) return "this loss has no gradient";
  const distance = sizes.slice(0, t).reverse().findIndex((v) => v !== null && v < 0.01 * sizes[t]);
  if (distance >= 0) return `its gradient falls below 1 % after ${distance + 1} step${distance ? "s" : ""} back`;
  const share = sizes[0] / sizes[t];
  return share >= 1 ? `its gradient is ${fixed(share, 1)} times as large at the first step`
    : `at the first step, ${t} back, ${fixed(100 * share, share < 0.1 ? 1 : 0)} % of its gradient arrives`;
}
