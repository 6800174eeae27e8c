// Colours of values. Blue is likely, or negative; orange is surprising, or positive; zero is the colour of the paper.
// Tables of 256 entries per theme, mixed in Oklab so that equal steps look equal.
import { theme } from "./theme.js";

const ENDS = {
  light: { paper: [253, 252, 250], blue: [24, 83, 153], orange: [190, 84, 8] },
  dark: { paper: [22, 26, 32], blue: [92, 160, 242], orange: [245, 150, 62] },
};

const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const gamma = (v) => (v <= 0.0031308 ? v * 12.92 : 1.055 * v ** (1 / 2.4) - 0.055);

function oklab([r, g, b]) {
  const [R, G, B] = [r, g, b].map((v) => linear(v / 255));
  const l = Math.cbrt(0.4122214708 * R + 0.5363325363 * G + 0.0514459929 * B);
  const m = Math.cbrt(0.2119034982 * R + 0.6806995451 * G + 0.1073969566 * B);
  const s = Math.cbrt(0.0883024619 * R + 0.2817188376 * G + 0.6299787005 * B);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

function rgb([L, a, b]) {
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ].map((v) => Math.round(255 * gamma(Math.min(1, Math.max(0, v)))));
}

const mix = (from, to, t) => rgb(oklab(from).map((v, k) => v + t * (oklab(to)[k] - v)));

const MAPS = {
  diverging: (t, ends) => (t < 0.5 ? mix(ends.paper, ends.blue, 1 - 2 * t) : mix(ends.paper, ends.orange, 2 * t - 1)),
  blue: (t, ends) => mix(ends.paper, ends.blue, t),
  orange: (t, ends) => mix(ends.paper, ends.orange, t),
};

const tables = {};

// 256 colours [r, g, b] of "diverging" (entry 0 is -1, 255 is 1), "blue" or "orange" (0 to 1), in a theme.
export function table(map, themeName = theme()) {
  return (tables[`${map} ${themeName}`] ??= Array.from({ length: 256 }, (_, k) => {
    // 127 and 128 both are zero, so that zero is the paper exactly.
    const t = map === "diverging" ? (k < 128 ? (k / 127) * 0.5 : 0.5 + ((k - 128) / 127) * 0.5) : k / 255;
    return MAPS[map](t, ENDS[themeName]);
  }));
}

// The entry of a value: "diverging" from -1 to 1, others from 0 to 1; beyond is cut.
export function entry(map, value) {
  const t = map === "diverging" ? (Math.max(-1, Math.min(1, value)) + 1) / 2 : Math.max(0, Math.min(1, value));
  return map === "diverging" ? (t < 0.5 ? Math.round(t * 2 * 127) : 128 + Math.round((t - 0.5) * 2 * 127)) : Math.round(t * 255);
}

export const css = ([r, g, b]) => `rgb(${r} ${g} ${b})`;

export function luminance([r, g, b]) {
  return 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
}

// Black or white, whichever reads better on a colour: at least 4.58 to 1 on any.
export const ink = (colour) => (luminance(colour) > 0.179 ? "#000" : "#fff");

const styles = {};

// Colours a symbol: background and ink of a value.
export function paint(element, map, value, themeName = theme()) {
  const styleTable = (styles[`${map} ${themeName}`] ??= table(map, themeName).map((colour) => [css(colour), ink(colour)]));
  const [ground, letters] = styleTable[entry(map, value)];
  element.style.backgroundColor = ground;
  element.style.color = letters;
}
