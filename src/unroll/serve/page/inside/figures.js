// Numbers of gradients and cells; a value too small to print is never shown as 0.
import { fixed } from "../frame/format.js";

export const LEAST = 1e-30;
const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const raised = (n) => (n < 0 ? "⁻" : "") + [...String(Math.abs(n))].map((digit) => SUPERSCRIPTS[digit]).join("");

// A size: 0.0123, 4.1·10⁻⁹, "below 10⁻³⁰"; `zero`: a 0 is exact, as beyond the sight of a window.
export function size(value, zero = false) {
  if (value === null || value === undefined) return "too large for a number";
  if (value === 0 && zero) return "exactly 0";
  if (value < LEAST) return `below 10${raised(-30)}`;
  if (value >= 0.001 && value < 10000) return String(Number(value.toPrecision(3)));
  const power = Math.floor(Math.log10(value));
  return `${(value / 10 ** power).toFixed(1)}·10${raised(power)}`;
}

// A power of ten, for an axis.
export const tenTo = (power) => (Number.isInteger(power) ? (power === 0 ? "1" : `10${raised(power)}`) : "");

// A value of a state or gate, with its sign.
export const value = (v, digits = 2) => (v > 0 ? "+" : "") + fixed(Math.abs(v) < 0.5 * 10 ** -digits ? 0 : v, digits);

// The area under the ROC curve of levels (0 to 255) of each unit for symbols that are `inside` (a Uint8Array):
// the probability that a symbol inside has a higher level than one outside. levels is (units, count) in one array.
export function aurocs(levels, units, count, inside) {
  const areas = new Float64Array(units);
  let insideCount = 0;
  for (let t = 0; t < count; t += 1) insideCount += inside[t];
  const pairs = insideCount * (count - insideCount);
  const [yes, no] = [new Uint32Array(256), new Uint32Array(256)];
  for (let unit = 0; unit < units; unit += 1) {
    yes.fill(0);
    no.fill(0);
    for (let t = 0, at = unit * count; t < count; t += 1, at += 1) (inside[t] ? yes : no)[levels[at]] += 1;
    let [below, sum] = [0, 0];
    for (let level = 0; level < 256; level += 1) {
      sum += yes[level] * (below + no[level] / 2);
      below += no[level];
    }
    areas[unit] = pairs ? sum / pairs : 0.5;
  }
  return areas;
}

// Pearson's correlation of each unit's levels with those of one of them.
export function correlations(levels, units, count, reference) {
  const mean = new Float64Array(units);
  const spread = new Float64Array(units);
  for (let unit = 0; unit < units; unit += 1) {
    let [sum, squares] = [0, 0];
    for (let t = 0, at = unit * count; t < count; t += 1, at += 1) {
      sum += levels[at];
      squares += levels[at] * levels[at];
    }
    mean[unit] = sum / count;
    spread[unit] = Math.sqrt(Math.max(0, squares / count - mean[unit] ** 2));
  }
  return Float64Array.from({ length: units }, (_, unit) => {
    let sum = 0;
    for (let t = 0; t < count; t += 1) sum += levels[unit * count + t] * levels[reference * count + t];
    const norm = spread[unit] * spread[reference];
    return norm > 0 ? (sum / count - mean[unit] * mean[reference]) / norm : 0;
  });
}

// The threshold of values that tells labels best, and where the two disagree: {at, rises, wrong: Uint8Array, score}.
export function threshold(values, labels) {
  const order = Array.from(values.keys()).sort((a, b) => values[a] - values[b]);
  const positives = labels.reduce((sum, label) => sum + (label > 0), 0);
  const negatives = labels.length - positives;
  if (!positives || !negatives) return null;
  let [above, aboveNot, best] = [positives, negatives, { score: -1 }];
  const consider = (at) => {
    const balanced = (above / positives + (negatives - aboveNot) / negatives) / 2;
    for (const [score, rises] of [[balanced, true], [1 - balanced, false]]) if (score > best.score) best = { score, at, rises };
  };
  consider(-Infinity);
  order.forEach((k, place) => {
    if (labels[k] > 0) above -= 1;
    else aboveNot -= 1;
    const next = order[place + 1];
    if (next === undefined || values[next] > values[k]) consider(next === undefined ? Infinity : (values[k] + values[next]) / 2);
  });
  const wrong = Uint8Array.from(labels, (label, k) => (values[k] > best.at === best.rises) !== label > 0);
  return { ...best, wrong };
}
