// The keyboard: single keys, ignored while someone types, and off if switched off in the help.
import { useEffect, useRef } from "../vendor/preact.js";

const STORAGE_KEY = "unroll.keys";
const entries = []; // [{ref: {keys}, help: {key: what it does}}], the last one answers first

export const keysAreOn = () => localStorage.getItem(STORAGE_KEY) !== "off";
export const switchKeys = (on) => localStorage.setItem(STORAGE_KEY, on ? "on" : "off");

// Keys while the component is shown: useKeys({n: next}, {n: "the next unit"}). A handler that returns false passes
// the key on. `help` appears in the help dialog.
export function useKeys(keys, help = {}) {
  const entry = useEntry(help);
  entry.keys = keys;
  entry.help = help;
}

function useEntry(help) {
  const ref = useRef(null);
  ref.current ??= { keys: {}, help };
  useEffect(() => {
    entries.push(ref.current);
    return () => void entries.splice(entries.indexOf(ref.current), 1);
  }, []);
  return ref.current;
}

export const helpRows = () => entries.flatMap(({ help }) => Object.entries(help));

// The keys of the linked cursor, for useKeys: a text of `length` symbols, a network of `layers` with `units` each.
export function cursorKeys(view, go, { length = 0, layers = 1, units = 0, signals = [] }) {
  const move = (pos) => length > 0 && go({ pos: Math.min(length - 1, Math.max(0, pos)) });
  const unit = (step) => units > 0 && go({ unit: (view.unit + step + units) % units });
  const layer = (step) => layers > 1 && go({ layer: (view.layer + step + layers) % layers });
  return {
    ArrowLeft: () => move(view.pos - 1),
    ArrowRight: () => move(view.pos + 1),
    Home: () => move(0),
    End: () => move(length - 1),
    "[": () => unit(-1),
    "]": () => unit(1),
    "{": () => layer(-1),
    "}": () => layer(1),
    ...Object.fromEntries(signals.map((signal) => [signal, () => go({ signal })])),
  };
}

const isEditable = (target) =>
  target instanceof HTMLElement && (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.key === "Escape" && isEditable(event.target)) return event.target.blur();
  if (isEditable(event.target) || (!keysAreOn() && event.key !== "?" && event.key !== "Escape")) return;
  if (document.querySelector("dialog[open]") && event.key !== "Escape") return;
  // A focused button handles Enter and Space itself.
  if ((event.key === " " || event.key === "Enter") && event.target.closest?.("button, a, summary, [role=button]")) return;
  for (const { keys } of [...entries].reverse()) {
    if (keys[event.key] && keys[event.key](event) !== false) {
      event.preventDefault();
      return;
    }
  }
});
