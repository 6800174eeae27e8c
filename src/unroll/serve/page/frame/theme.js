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
  const chosen = chosenTheme();
  return chosen === "auto" ? (system.matches ? "dark" : "light") : chosen;
}

export function nextTheme() {
  const next = CHOICES[(CHOICES.indexOf(chosenTheme()) + 1) % CHOICES.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    localStorage.setItem("unroll.theme", next);
  } catch {
    // It holds for this visit.
  }
  tell();
  return next;
}

function tell() {
  for (const listener of listeners) listener();
}
system.addEventListener("change", tell);

// Re-renders a component when the theme changes; returns "light" or "dark".
export function useTheme() {
  const [shown, setShown] = useState(theme());
  useEffect(() => {
    const listener = () => setShown(theme());
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, []);
  return shown;
}

// The value of a colour of style.css, such as colour("--blue").
export function variable(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
