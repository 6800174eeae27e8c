// Light, dark or system theme; canvases read their colours here and are notified of changes.
import { useEffect, useState } from "../vendor/preact.js";

const CHOICES = ["auto", "light", "dark"];
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set();

export function chosenTheme() {
  return document.documentElement.dataset.theme ?? "auto";
}

// The theme that is shown: "light" or "dark".
export function theme() {
  const choice = chosenTheme();
  return choice === "auto" ? (system.matches ? "dark" : "light") : choice;
}

export function nextTheme() {
  const next = CHOICES[(CHOICES.indexOf(chosenTheme()) + 1) % CHOICES.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("unroll.theme", next);
  } catch {
    // Without storage the choice lasts for this visit.
  }
  notify();
  return next;
}

function notify() {
  for (const listener of listeners) listener();
}
system.addEventListener("change", notify);

// Re-renders a component when the theme changes; returns "light" or "dark".
export function useTheme() {
  const [current, setCurrent] = useState(theme());
  useEffect(() => {
    const listener = () => setCurrent(theme());
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return current;
}

// The value of a colour of style.css, such as colour("--blue").
export function variable(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export const reducedMotion = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
