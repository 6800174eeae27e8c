// Numbers and symbols formatted for readers.
export const bits = (nats) => nats / Math.LN2;
export const number = (n) => Math.round(n).toLocaleString("en");

// One unit for figures of several texts or models: bits per character where each has its characters per token, else per word or per symbol.
export function scaleOf(texts) {
  const perChar = texts.every((text) => text?.chars_per_token);
  const name = perChar ? "char" : texts.every((text) => text?.level === "word") ? "word" : "symbol";
  const unknown = Math.max(...texts.map((text) => text?.unknown_share ?? 0)); // of the validation part
  return { of: (nats, text) => bits(nats) / (perChar ? text.chars_per_token : 1),
    unit: `bits per ${name === "char" ? "character" : name}`, brief: `bits/${name}${unknown ? ` · ${percent(unknown)} % <unk>` : ""}` };
}

// The mean of the nats of symbols, in that unit: [value, unit, brief unit].
export function meanCost(level, nats, symbols) {
  const own = { level, chars_per_token: level === "word" ? null : Array.from(symbols.join("")).length / symbols.length };
  const { of, unit, brief } = scaleOf([own]);
  return [of(nats.reduce((sum, v) => sum + v, 0) / symbols.length, own), unit, brief];
}

export const fixed = (n, digits = 2) => (Number.isFinite(n) ? n.toFixed(digits).replace("-", "−") : "–");
export const percent = (p) => (p >= 0.9995 ? "100" : p >= 0.1 ? (100 * p).toFixed(1) : p >= 0.001 ? (100 * p).toFixed(1) : p > 0 ? "<0.1" : "0");
export const signed = (n, digits = 2) => (n > 0 ? `+${fixed(n, digits)}` : fixed(n, digits));

// 1234567 -> "1.23 M", with the unit's own precision.
export function short(n) {
  for (const [size, unit] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (n >= size) return `${(n / size).toPrecision(3)} ${unit}`;
  return String(Math.round(n));
}

export function clock(seconds) {
  if (!Number.isFinite(seconds)) return "–";
  const whole = Math.max(0, Math.round(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${String(m).padStart(2, "0")}:${String(s).padStart(2, "0")}` : `${m}:${String(s).padStart(2, "0")}`;
}

const NAMES = { " ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍" };

// A single symbol, with visible blanks.
export function symbolText(symbol) {
  if (symbol.length > 1) return symbol.replace(/[\n\t\r]/g, (c) => NAMES[c]).replace(/^ +| +$/g, (s) => "␣".repeat(s.length));
  return NAMES[symbol] ?? control(symbol) ?? symbol;
}

// Control characters as their pictures; direction marks by number: a text never changes how the page is drawn.
export function control(symbol) {
  const code = symbol.codePointAt(0);
  if (code === undefined) return "∅";
  if (code < 32) return String.fromCodePoint(0x2400 + code);
  if (code === 127) return "␡";
  if ((code >= 0x80 && code < 0xa0) || (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
      (code >= 0x2060 && code <= 0x206f) || code === 0xfeff) return `⟨${code.toString(16).toUpperCase()}⟩`;
  return undefined;
}

// A symbol within a text: blanks stay blank; a newline is marked and breaks the line.
export const inText = (symbol) =>
  symbol.length === 1 && symbol !== "\n" && symbol !== "\t" ? (control(symbol) ?? symbol) : symbol.replace(/\n/g, "↵\n");

export const plural = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;
