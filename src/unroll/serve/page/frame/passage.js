// A text whose symbols are coloured: one element each, made once, painted again when what they show changes.
import { html, useLayoutEffect, useRef } from "../vendor/preact.js";
import { inText } from "./format.js";
import { announce } from "./live.js";
import { useTheme } from "./theme.js";

// symbols: [text]; paint(element, index, theme) colours one, and runs for all again when `painted` changes;
// pos: the cursor; onPick(index): a click, or the arrow keys; say(index): the text for screen readers;
// onHover(index or -1). It is one stop of the Tab key.
export function Passage({ symbols, paint, painted, pos = -1, onPick, onHover, say, label, class: kind = "" }) {
  const shown = useTheme();
  const box = useRef(null);
  const made = useRef([]);

  useLayoutEffect(() => {
    // What the two texts begin with stays: typing at the end makes one element.
    const old = made.current;
    let same = 0;
    while (same < old.length && same < symbols.length && old[same].symbol === symbols[same]) same += 1;
    for (const { element } of old.splice(same)) element.remove();
    const fragment = document.createDocumentFragment();
    for (let k = same; k < symbols.length; k += 1) {
      const element = document.createElement("span");
      element.textContent = inText(symbols[k]);
      element.dataset.k = k;
      old.push({ symbol: symbols[k], element });
      fragment.append(element);
    }
    box.current.append(fragment);
  }, [symbols]);

  useLayoutEffect(() => {
    made.current.forEach(({ element }, k) => paint?.(element, k, shown));
  }, [symbols, painted, shown]);

  useLayoutEffect(() => {
    const element = made.current[pos]?.element;
    if (!element) return;
    element.classList.add("here");
    return () => element.classList.remove("here");
  }, [symbols, pos]);

  const under = (event) => (event.target.dataset?.k === undefined ? -1 : Number(event.target.dataset.k));
  const pick = (k) => {
    onPick?.(k);
    made.current[k]?.element.scrollIntoView({ block: "nearest" });
    if (say) announce(say(k));
  };
  const vertical = (step) => {
    const from = made.current[Math.max(0, pos)]?.element;
    if (!from) return -1;
    let best = -1;
    for (let k = Math.max(0, pos); k >= 0 && k < made.current.length; k += step) {
      const { offsetTop, offsetLeft } = made.current[k].element;
      if (step * (offsetTop - from.offsetTop) <= 2) continue;
      if (best >= 0 && Math.abs(offsetTop - made.current[best].element.offsetTop) > 2) break;
      if (best < 0 || Math.abs(offsetLeft - from.offsetLeft) < Math.abs(made.current[best].element.offsetLeft - from.offsetLeft)) best = k;
    }
    return best;
  };
  const onKey = (event) => {
    const last = symbols.length - 1;
    const to = { ArrowLeft: () => pos - 1, ArrowRight: () => pos + 1, ArrowUp: () => vertical(-1), ArrowDown: () => vertical(1), Home: () => 0,
      End: () => last }[event.key]?.();
    if (to === undefined || last < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (to >= 0 || event.key === "ArrowLeft") pick(Math.min(last, Math.max(0, to)));
  };
  return html`<div class=${`passage ${kind}`} ref=${box} tabindex="0" role="group" aria-label=${label} onKeyDown=${onKey}
    onClick=${(event) => under(event) >= 0 && pick(under(event))}
    onPointerOver=${(event) => onHover?.(under(event))} onPointerLeave=${() => onHover?.(-1)}></div>`;
}
