// Similar: the sentences nearest to a query by the state after reading them, beside what the letters alone would find.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { fixed, number, percent, plural } from "../frame/format.js";
import { announce } from "../frame/live.js";
import { Choice, Failure, Panel, Waiting, useRequest } from "../frame/parts.js";
import { probe } from "../frame/probe.js";
import { useText } from "../frame/view.js";
import { SourceChoice, sourceOf } from "../inside/trace.js";

const SIZES = [[200000, ""]];

export default function Similar({ view, go, api }) {
  const [text, setText] = useText(view, go, api);
  const source = sourceOf(view, text, SIZES);
  const first = useRequest(view.query || !view.model || text === null || source.text ? null : view.model,
    (signal) => api("inside/open", { model: view.model, part: { first: 0, length: 1500 } }, { signal }).then(({ symbols }) => aSentence(symbols.join(""))));
  const query = view.query || (source.text ? aSentence(source.text.slice(0, 3000)) : first.data) || "";
  const pool = view.pool === "mean" ? "mean" : "last";
  const standardise = view.raw !== "1";
  const excludesEnding = view.other === "1";
  const body = { model: view.model, query, pool, standardise, other_ending: excludesEnding, top: 12, ...source };
  const request = useRequest(query && view.model && text !== null ? JSON.stringify(body) : null, (signal) => api("inside/similar", body, { signal }), 350);
  const box = useRef(null);
  const data = request.data;
  useEffect(() => {
    probe("similar", { query, pool, standardise, rows: data?.rows ?? null, same_ending: data?.same_ending ?? null });
    if (data) announce(`${data.rows.length} sentences; the nearest: ${data.rows[0]?.text ?? "none"}`);
  }, [data]);
  const ask = (event) => {
    event.preventDefault();
    go({ query: box.current.value.trim() });
  };
  return html`<div class="grid">
    <${Panel} title="Your sentence">
      <form class="stack" onSubmit=${ask}>
        <label class="field"><span class="unseen">Sentence</span>
          <input type="text" class="sentence" data-text ref=${box} value=${query} maxlength="1000" spellcheck=${false}
          onChange=${(event) => go({ query: event.target.value.trim() })} /></label>
        <div class="row"><button class="main">Find neighbours</button>
          <span class="labelled">vector of a sentence: <${Choice} label="Vector" value=${pool}
            options=${[["last", "its final h"], ["mean", "the mean of h"]]} onChange=${(next) => go({ pool: next })} /></span>
          <label class="switch"><input type="checkbox" checked=${standardise} onChange=${() => go({ raw: standardise ? "1" : "" })} />standardise units</label>
          <label class="switch">
            <input type="checkbox" checked=${excludesEnding} onChange=${() => go({ other: excludesEnding ? "" : "1" })} />exclude the same ending</label></div>
      </form>
      <${SourceChoice} view=${view} go=${go} text=${text} setText=${setText} sizes=${SIZES} />
    <//>
    ${(request.error || first.error) && html`<div><${Failure} error=${request.error || first.error} /></div>`}
    ${data ? html`<${Neighbours} data=${data} query=${query} busy=${request.busy} go=${go} />` : !request.error && !first.error
      && html`<${Waiting}>Reading the sentences…<//>`}
  </div>`;
}

// The first sentence of medium length in a text.
export function aSentence(text) {
  const all = text.replace(/([^\n])\n(?=\p{Ll})/gu, "$1 ").split(/\n|(?<=[.!?…])["'”’)]*\s+/).map((one) => one.trim());
  return all.find((one) => one.length > 24 && one.length < 90) ?? all.find((one) => one.length > 2) ?? text.slice(0, 60);
}

function Neighbours({ data, query, busy, go }) {
  const [shownPoint, setPoint] = useState(-1);
  const { nearest, all } = data.same_ending;
  const times = all > 0 ? nearest / all : null;
  return html`
    <${Panel} class="w8" title="Nearest by the state" aside=${html`${busy ? "loading…" : `${plural(data.sentences, "sentence")} of ${data.source}`}`}>
      <div class="table"><table class="near"><caption class="unseen">Sentences nearest to ${query}, with controls</caption>
        <thead><tr><th scope="col" class="number">#</th><th scope="col">sentence</th><th scope="col" class="number">cosine</th>
          <th scope="col" class="number" title="share of common character trigrams">common trigrams</th>
          <th scope="col">ends in ${data.ending ? html`“<span class="sym">${data.ending}</span>”` : "the same"}</th></tr></thead>
        <tbody>${data.rows.map(
          (row, k) => html`<tr key=${row.line + row.text} class=${k === shownPoint ? "here" : ""} onMouseEnter=${() => setPoint(k)}
          onMouseLeave=${() => setPoint(-1)}>
          <td class="number muted">${k + 1}</td><td>
            <button type="button" class="as-text" title=${`line ${row.line}: find its neighbours`} onClick=${() => go({ query: row.text })}>
            ${row.text}</button></td>
          <td class="number" data-label="cosine">${fixed(row.cosine, 3)}</td>
            <td class="number" data-label="common trigrams">${fixed(row.jaccard, 2)} <small>rank ${number(row.surface_rank)}</small></td>
            <td data-label="same ending">${row.same_ending ? "yes" : html`<span class="muted">no</span>`}</td></tr>`)}</tbody></table></div>
      ${data.rows.length === 0 && html`<p class="note">No sentence is left to compare.</p>`}
      ${data.notes.map((note) => html`<p class="note" key=${note}>${note}</p>`)}
    <//>
    <div class="w4 pile">
      <${Panel} title="More than letters?">
        <p>${data.rows.length
          ? html`<b>${percent(nearest)} %</b> of the nearest end as the query does; of all sentences ${percent(all)} %${times !== null && times >= 1.5
          ? html`: ${fixed(times, 1)} times as often. A final state mostly reflects the last symbols` : ""}.` : ""}</p>
        <p>The nearest share <b>
          ${fixed(data.jaccard.nearest ?? 0, 3)}
          </b> of their trigrams with it, all sentences ${fixed(data.jaccard.all, 3)}. Trigrams alone would find <b>
          ${data.jaccard.overlap}</b> of these ${data.rows.length}.</p>
      <//>
      <${Panel} title="Map" aside=${`${percent(data.map.shares.reduce((a, b) => a + b, 0))} % of the variance`}>
        <${Plane} map=${data.map} chosen=${shownPoint} /><//>
    </div>`;
}

const [SIDE, EDGE] = [320, 16];

// The sentences in the plane of their two main directions; the query is a ring, the nearest have their rank.
function Plane({ map, chosen }) {
  const all = [...map.points.map(({ at }) => at), map.query].map(([x, y = 0]) => [x, y]);
  const range = (axis) => [Math.min(...all.map((at) => at[axis])), Math.max(...all.map((at) => at[axis]))];
  const [[left, right], [low, high]] = [range(0), range(1)];
  const place = ([x, y = 0]) =>
    [EDGE + ((x - left) / (right - left || 1)) * (SIDE - 2 * EDGE), SIDE - EDGE - ((y - low) / (high - low || 1)) * (SIDE - 2 * EDGE)];
  const [qx, qy] = place(map.query);
  const neighbours = map.points.filter(({ rank }) => rank !== null);
  return html`<figure><svg viewBox=${`0 0 ${SIDE} ${SIDE}`} class="plane" role="img"
    aria-label=${`${map.points.length} sentences by the two directions in which their states differ most; the query and its ${neighbours.length} nearest are marked`}>
    <rect x="1" y="1" width=${SIDE - 2} height=${SIDE - 2} class="frame" />
    ${map.points.filter(({ rank }) => rank === null).map(
      ({ at, sentence }) => { const [x, y] = place(at); return html`<circle key=${sentence} cx=${x} cy=${y} r="2" />`; })}
    ${neighbours.map(({ at, rank }) => { const [x, y] = place(at);
      return html`<g key=${`n${rank}`} class=${`near ${rank === chosen ? "here" : ""}`}><circle cx=${x} cy=${y} r="7" />
      <text x=${x} y=${y + 3.2}>${rank + 1}</text></g>`; })}
    <circle cx=${qx} cy=${qy} r="9" class="query" /><circle cx=${qx} cy=${qy} r="2.5" class="query in" /></svg>
    <figcaption class="note">The ring is your sentence. The axes show ${percent(map.shares[0] ?? 0)} % and ${percent(
      map.shares[1] ?? 0)} % of the variance: points that are near here may be far apart in other directions.</figcaption></figure>`;
}
