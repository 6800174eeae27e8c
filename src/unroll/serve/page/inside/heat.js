// A heat map: one pixel for each unit and symbol, painted from a table of 256 colours and scaled to any size.
import { html, useLayoutEffect, useRef } from "../vendor/preact.js";
import { table } from "../frame/colour.js";
import { useTheme } from "../frame/theme.js";
import { recordTiming } from "./timing.js";

// Paints levels (units, count) row by row in the order of units.
export function paintHeat(canvas, levels, count, order, map, theme) {
  const colours = Uint32Array.from(table(map, theme), ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0);
  if (canvas.width !== count) canvas.width = count;
  if (canvas.height !== order.length) canvas.height = order.length;
  const context = canvas.getContext("2d");
  const image = context.createImageData(count, order.length);
  const pixels = new Uint32Array(image.data.buffer);
  for (let row = 0; row < order.length; row += 1) {
    const from = order[row] * count;
    const to = row * count;
    for (let t = 0; t < count; t += 1) pixels[to + t] = colours[levels[from + t]];
  }
  context.putImageData(image, 0, 0);
}

// levels: Uint8Array (units, count); order: which unit each row shows; pos, row: the cursor; onPick(pos, row);
// onHover(pos, row): the pointer is there, (-1, -1): it left; onDrag(first, last): a dragged range; say(pos, row): the text for screen readers.
export function Heat({ levels, count, order, map, pos, row, range, onPick, onHover, onDrag, summary, height = 280 }) {
  const theme = useTheme();
  const canvas = useRef(null);
  const from = useRef(null);
  useLayoutEffect(() => {
    recordTiming("heat");
    paintHeat(canvas.current, levels, count, order, map, theme);
  }, [levels, count, order, map, theme]);

  const place = (event) => {
    const box = canvas.current.getBoundingClientRect();
    const inside = (share, size) => Math.min(size - 1, Math.max(0, Math.floor(share * size)));
    return [inside((event.clientX - box.left) / box.width, count), inside((event.clientY - box.top) / box.height, order.length)];
  };
  const down = (event) => {
    from.current = place(event);
    event.currentTarget.setPointerCapture(event.pointerId);
  };
  const up = (event) => {
    if (!from.current) return;
    const [first, [last, at]] = [from.current[0], place(event)];
    const dragged = Math.abs(last - first) * (canvas.current.clientWidth / count) > 6;
    from.current = null;
    if (dragged && last !== first) onDrag?.(Math.min(first, last), Math.max(first, last));
    else onPick(last, at);
  };
  const onKey = (event) => {
    const page = Math.max(1, Math.round(count / 20));
    const [x, y] = { ArrowLeft: [pos - 1, row], ArrowRight: [pos + 1, row], ArrowUp: [pos, row - 1], ArrowDown: [pos, row + 1],
      Home: [0, row], End: [count - 1, row], PageUp: [pos - page, row], PageDown: [pos + page, row] }[event.key] ?? [];
    if (x === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    onPick(Math.min(count - 1, Math.max(0, x)), Math.min(order.length - 1, Math.max(0, y)));
  };
  const share = (k, size) => `${(100 * k) / size}%`;
  return html`<div class="heat" tabindex="0" role="img" aria-label=${summary} onKeyDown=${onKey} onPointerDown=${down} onPointerUp=${up}
    onPointerMove=${(event) => onHover?.(...place(event))} onPointerLeave=${() => onHover?.(-1, -1)}
    style=${{ height: `${height}px` }}>
    <canvas ref=${canvas}></canvas>
    ${range && html`<i class="ranged" style=${{ left: share(range[0], count), width: share(range[1] - range[0] + 1, count) }}></i>`}
    ${pos >= 0 && pos < count && html`<i class="at-symbol" style=${{ left: share(pos + 0.5, count) }}></i>`}
    ${row >= 0 && row < order.length && html`<i class="at-unit" style=${{ top: share(row + 0.5, order.length) }}></i>`}
  </div>`;
}

// The colour scale: a bar of the whole table with its ends.
export function Legend({ map, low, high, left = "", right = "" }) {
  const theme = useTheme();
  const canvas = useRef(null);
  useLayoutEffect(() => {
    const levels = Uint8Array.from({ length: 256 }, (_, k) => k);
    paintHeat(canvas.current, levels, 256, [0], map, theme);
  }, [map, theme]);
  return html`<span class="ends"><b>${low}</b><canvas ref=${canvas} aria-hidden="true"></canvas>
    <b>${high}</b>${(left || right) && html`<small>${left}${right}</small>`}</span>`;
}
