// A text with coloured symbols: one element each, created once and repainted when their values change.
import { html, useLayoutEffect, useRef } from "../vendor/preact.js";
import { inText } from "./format.js";
import { announce } from "./live.js";
import { useTheme } from "./theme.js";

// symbols: [text]; paint(element, index, theme) colours one symbol; all are repainted when `paintKey` changes;
// pos: the cursor; onPick(index): a click, or the arrow keys; say(index): the text for screen readers;
// onHover(index or -1); stops(index): whether the cursor may be there, by default everywhere. The text is one stop of the
// Tab key.
export function Passage({ symbols, paint, paintKey, pos = -1, onPick, onHover, say, stops, label, class: kind = "" }) {
  const theme = useTheme();
  const box = useRef(null);
  const elements = useRef([]);

  useLayoutEffect(() => {
    // The common prefix of both texts stays, so that typing at the end adds one element.
    const entries = elements.current;
    let prefix = 0;
    while (prefix < entries.length && prefix < symbols.length && entries[prefix].symbol === symbols[prefix]) prefix += 1;
    for (const { element } of entries.splice(prefix)) element.remove();
    const fragment = document.createDocumentFragment();
    for (let k = prefix; k < symbols.length; k += 1) {
      const element = document.createElement("span");
      element.textContent = inText(symbols[k]);
      element.dataset.k = k;
      entries.push({ symbol: symbols[k], element });
      fragment.append(element);
    }
    box.current.append(fragment);
  }, [symbols]);

  useLayoutEffect(() => {
    elements.current.forEach(({ element }, k) => paint?.(element, k, theme));
  }, [symbols, paintKey, theme]);

  useLayoutEffect(() => {
    const element = elements.current[pos]?.element;
    if (!element) return;
    element.classList.add("here");
    return () => element.classList.remove("here");
  }, [symbols, pos]);

  const indexUnder = (event) => (event.target.dataset?.k === undefined ? -1 : Number(event.target.dataset.k));
  const pick = (k) => {
    onPick?.(k);
    elements.current[k]?.element.scrollIntoView({ block: "nearest" });
    if (say) announce(say(k));
  };
  const rowStep = (step) => {
    const from = elements.current[Math.max(0, pos)]?.element;
    if (!from) return -1;
    let best = -1;
    for (let k = Math.max(0, pos); k >= 0 && k < elements.current.length; k += step) {
      const { offsetTop, offsetLeft } = elements.current[k].element;
      if (step * (offsetTop - from.offsetTop) <= 2) continue;
      if (best >= 0 && Math.abs(offsetTop - elements.current[best].element.offsetTop) > 2) break;
      if (best < 0 || Math.abs(offsetLeft - from.offsetLeft) < Math.abs(elements.current[best].element.offsetLeft - from.offsetLeft)) best = k;
    }
    return best;
  };
  const onKey = (event) => {
    const last = symbols.length - 1;
    const to = { ArrowLeft: () => pos - 1, ArrowRight: () => pos + 1, ArrowUp: () => rowStep(-1), ArrowDown: () => rowStep(1), Home: () => 0,
      End: () => last }[event.key]?.();
    if (to === undefined || last < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (to < 0 && event.key !== "ArrowLeft") return;
    let k = Math.min(last, Math.max(0, to));
    const step = event.key === "End" || (k < pos && event.key !== "Home") ? -1 : 1;
    while (stops && k >= 0 && k <= last && !stops(k)) k += step;
    if (k >= 0 && k <= last) pick(k);
  };
  return html`<div class=${`passage ${kind}`} ref=${box} tabindex="0" role="group" aria-label=${label} onKeyDown=${onKey}
    onClick=${(event) => indexUnder(event) >= 0 && (!stops || stops(indexUnder(event))) && pick(indexUnder(event))}
    onPointerOver=${(event) => onHover?.(indexUnder(event))} onPointerLeave=${() => onHover?.(-1)}></div>`;
}
