// Line charts: uPlot, with a cursor for the keyboard, a summary in words, and the numbers as a table.
/* global uPlot */
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { announce } from "./live.js";
import { Table, TableButton } from "./parts.js";
import { useTheme, variable } from "./theme.js";

const plain = (v) => (v === null || v === undefined ? "–" : Math.abs(v) >= 1000 ? Math.round(v).toLocaleString("en") : String(Number(v.toPrecision(4))));

// x: increasing numbers; series: [{label, values (null where there is none), colour: "--blue", width, dash, points}];
// lines: [{label, value}] across the chart; marks: [x] along the bottom; summary: one sentence for screen
// readers; xText, yText: a value in words; yTick: a value at the axis; onPick(index): a click, or Enter at the cursor.
export function Chart(
  { x, series, lines = [], marks = [], height = 260, xLabel, yLabel, xLog, yLog, xRange, yRange, summary, xText = plain, yText = plain, yTick = plain,
  onPick }) {
  const theme = useTheme();
  const box = useRef(null);
  const plot = useRef(null);
  const [at, setAt] = useState(null);
  const [asTable, setAsTable] = useState(false);
  const latest = useRef({});
  latest.current = { lines, marks, onPick, length: x.length };
  const data = useMemo(() => [x, ...series.map(({ values }) => values)], [x, series]);
  const kind = JSON.stringify([series.map(({ values, ...look }) => look), height, xLabel, yLabel, xLog, yLog, xRange, yRange, theme, lines.map(({ label }) => label)]);

  useEffect(() => {
    const muted = variable("--muted");
    const axis = { stroke: muted, font: `11px ${variable("--sans")}`, labelFont: `11px ${variable("--sans")}`,
      ticks: { show: false }, grid: { stroke: variable("--grid"), width: 1 } };
    const margin = Math.max(20, ...lines.map(({ label }) => (label ? textWidth(label) + 10 : 0)));
    const options = {
      width: box.current.clientWidth, height,
      legend: { show: false },
      padding: [14, margin, 0, 0],
      cursor: { points: { size: 7 }, drag: { x: true, y: false }, y: false },
      scales: { x: { time: false, distr: xLog ? 3 : 1, ...(xRange ? { range: () => xRange } : {}) },
        y: { distr: yLog ? 3 : 1, ...(yRange ? { range: () => yRange } : { range: rangeOfY(latest, yLog) }) } },
      axes: [
        { ...axis, label: xLabel, labelSize: 16, size: 28, grid: { show: false }, values: (_, ticks) => ticks.map((v) => (v === null ? "" : plain(v))) },
        { ...axis, label: yLabel, labelSize: 16, size: 42, values: (_, ticks) => ticks.map((v) => (v === null ? "" : yTick(v))) },
      ],
      series: [{}, ...series.map(({ label, colour = "--blue", width = 1.6, dash, points = false }) => ({
        label, stroke: variable(colour), width, dash, spanGaps: true,
        points: { show: Boolean(points), size: 6, fill: variable(points === "hollow" ? "--surface" : colour) },
      }))],
      hooks: {
        drawAxes: [(u) => drawLines(u, latest.current)],
        setCursor: [(u) => setAt(u.cursor.idx ?? null)],
        ready: [(u) => u.over.addEventListener("click", () => latest.current.onPick && u.cursor.idx !== null && latest.current.onPick(u.cursor.idx))],
      },
    };
    const chart = (plot.current = new uPlot(options, data, box.current));
    const observer = new ResizeObserver(() => chart.setSize({ width: box.current.clientWidth, height }));
    observer.observe(box.current);
    return () => {
      observer.disconnect();
      chart.destroy();
      plot.current = null;
    };
  }, [kind]);

  useEffect(() => {
    const u = plot.current;
    if (!u || u.data === data) return;
    const zoomed = u.data[0].length > 1 && (u.scales.x.min > u.data[0][0] || u.scales.x.max < u.data[0].at(-1));
    u.setData(data, !zoomed);
    if (zoomed) u.redraw();
  }, [data, lines]);

  const say = (k) => `${xLabel} ${xText(x[k])}: ${series.map(
    ({ label, values }) => (values[k] === null || values[k] === undefined ? "" : `${label} ${yText(values[k])}`)).filter(Boolean).join(", ")}`;
  const onKey = (event) => {
    const last = x.length - 1;
    const to = { ArrowLeft: (at ?? last + 1) - 1, ArrowRight: (at ?? -1) + 1, Home: 0, End: last, PageUp: (at ?? last) - 20,
      PageDown: (at ?? 0) + 20 }[event.key];
    if (event.key === "Enter" && at !== null) onPick?.(at);
    if (to === undefined || last < 0) return;
    event.preventDefault();
    const k = Math.min(last, Math.max(0, to));
    const u = plot.current;
    u.setCursor({ left: u.valToPos(x[k], "x"), top: u.over.clientHeight / 2 });
    setAt(k);
    announce(say(k));
  };

  return html`<figure class="chart">
    <div class="plot" ref=${box} tabindex="0" role="img" aria-label=${summary} onKeyDown=${onKey}></div>
    <figcaption>
      <ul class="legend">${series.map(({ label, colour = "--blue", dash, values }) => html`<li key=${label}>
        <i class=${dash ? "dash" : ""} style=${{ color: `var(${colour})` }}></i>
          ${label}${at !== null && values[at] !== null && values[at] !== undefined ? html` <b>${yText(values[at])}</b>` : ""}</li>`)}
        ${at !== null && at < x.length && html`<li class="where">${xLabel} <b>${xText(x[at])}</b></li>`}
      </ul>
      <${TableButton} shown=${asTable} of=${`${yLabel} by ${xLabel}`} onClick=${() => setAsTable(!asTable)} />
    </figcaption>
    ${asTable && html`<${Table} caption=${summary} rows=${x.map((_, k) => k)}
      columns=${[[xLabel, (k) => xText(x[k]), "number"],
      ...series.map(({ label, values }) => [label, (k) => (values[k] === null || values[k] === undefined ? "" : yText(values[k])), "number"])]} />`}
  </figure>`;
}

// The range of y includes the lines across the chart, with a small margin.
const rangeOfY = (latest, log) => (u, low, high) => {
  const values = [low, high, ...latest.current.lines.map(({ value }) => value)].filter((v) => Number.isFinite(v) && (!log || v > 0));
  if (!values.length) return log ? [0.1, 1] : [0, 1];
  const [least, most] = [Math.min(...values), Math.max(...values)];
  if (log) return [least / 1.2, most * 1.2];
  if (most === 0 && least === 0) return [0, 1];
  const air = (most - least || 1) * 0.06;
  return [least >= 0 ? Math.max(0, least - air) : least - air, most + air];
};

function textWidth(text) {
  const context = document.createElement("canvas").getContext("2d");
  context.font = `11px ${variable("--sans")}`;
  return Math.ceil(context.measureText(text).width);
}

function drawLines(u, { lines, marks }) {
  const { ctx, bbox } = u;
  const scale = devicePixelRatio;
  ctx.save();
  ctx.font = `${11 * scale}px ${variable("--sans")}`;
  ctx.lineWidth = scale;
  ctx.setLineDash([2 * scale, 3 * scale]);
  const visible = lines.map(({ label, value }) => ({ label, y: u.valToPos(value, "y", true) }))
    .filter(({ y }) => y >= bbox.top && y <= bbox.top + bbox.height).sort((a, b) => b.y - a.y);
  ctx.strokeStyle = ctx.fillStyle = variable("--muted");
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  let above = Infinity;
  for (const { label, y } of visible) {
    ctx.beginPath();
    ctx.moveTo(bbox.left, Math.round(y));
    ctx.lineTo(bbox.left + bbox.width, Math.round(y));
    ctx.stroke();
    // Labels stand beside their lines; those that would overlap move up.
    above = Math.min(y, above - 13 * scale);
    if (label) ctx.fillText(label, bbox.left + bbox.width + 6 * scale, above);
  }
  ctx.setLineDash([]);
  ctx.fillStyle = variable("--muted");
  for (const mark of marks) {
    const x = u.valToPos(mark, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top + bbox.height - 6 * scale);
    ctx.lineTo(x - 3.5 * scale, bbox.top + bbox.height);
    ctx.lineTo(x + 3.5 * scale, bbox.top + bbox.height);
    ctx.fill();
  }
  ctx.restore();
}
