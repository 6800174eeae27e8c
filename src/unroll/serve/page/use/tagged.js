// A tagger: the text with each token in the colour of its tag, which stands beside it, and a legend.
import { html, useEffect, useMemo, useState } from "../vendor/preact.js";
import { number, percent, plural, symbolText } from "../frame/format.js";
import { Failure, Panel, Waiting, useRequest } from "../frame/parts.js";
import { Passage } from "../frame/passage.js";
import { probe } from "../frame/probe.js";
import { useDraft } from "./draft.js";

const GOLDEN = 137.5; // degrees: tags that follow each other have colours far apart

// What a tag marks, whichever part of an entity it is: B-PER and I-PER have one colour.
const meaning = (tag) => tag.replace(/^[BIES]-/, "");

export function hues(tags) {
  const meanings = [...new Set(tags.map(meaning))];
  return Object.fromEntries(tags.map((tag) => [tag, Math.round(meanings.indexOf(meaning(tag)) * GOLDEN) % 360]));
}

// The text in pieces that join to it: {text, token}, the token null between tokens. Offsets count code points.
export function piecesOf({ text, tokens }) {
  const points = Array.from(text);
  const pieces = [];
  let place = 0;
  for (const token of tokens) {
    if (token.start > place) pieces.push({ text: points.slice(place, token.start).join(""), token: null });
    pieces.push({ text: token.token, token });
    place = token.end;
  }
  if (place < points.length) pieces.push({ text: points.slice(place).join(""), token: null });
  return pieces;
}

export function Tagged({ model, view, go, api }) {
  const [content, save] = useDraft(view, go, api);
  const key = content ? JSON.stringify([model.name, model.version, content]) : null;
  const { data, error } = useRequest(key, (signal) => api("/tag", { model: model.name, text: content }, { signal }), 120);
  const tagged = data?.data[0] ?? null;
  useEffect(() => {
    if (tagged) probe("use", { model: model.name, ...tagged });
  }, [tagged]);
  return html`<div class="grid">
    <${Panel} title="Your text">
      ${content === null ? html`<${Waiting}>Fetching a text…<//>`
        : html`<textarea data-text rows="4" value=${content} spellcheck="false" aria-label="Text that is tagged" placeholder="A sentence"
            onInput=${(event) => save(event.target.value, 500)}></textarea>`}
      ${error && html`<${Failure} error=${error} />`}
    <//>
    ${tagged ? html`<${Tags} tagged=${tagged} tags=${model.tags} />` : content && !error && html`<${Panel} title="Tags"><${Waiting}>Reading…<//><//>`}
  </div>`;
}

function Tags({ tagged, tags }) {
  const [pos, setPos] = useState(-1);
  const [hover, setHover] = useState(-1);
  useEffect(() => setPos(-1), [tagged]);
  const pieces = useMemo(() => piecesOf(tagged), [tagged]);
  const symbols = useMemo(() => pieces.map(({ text }) => text), [pieces]);
  const hue = useMemo(() => hues(tags), [tags]);
  const isToken = (k) => Boolean(pieces[k]?.token);
  const say = (k) => `${symbolText(pieces[k].token.token)}: ${pieces[k].token.tag}, ${percent(pieces[k].token.probability)} percent`;
  const paint = useMemo(() => (element, k) => {
    const token = pieces[k].token;
    element.classList.toggle("tagged", token !== null);
    if (token === null) return delete element.dataset.tag;
    element.dataset.tag = token.tag;
    element.title = say(k);
    element.style.setProperty("--hue", hue[token.tag]);
  }, [pieces, hue]);
  const shown = isToken(hover) ? hover : pos;
  const counts = new Map();
  for (const { tag } of tagged.tokens) counts.set(tag, (counts.get(tag) ?? 0) + 1);
  const legend = [...counts].sort((a, b) => b[1] - a[1] || tags.indexOf(a[0]) - tags.indexOf(b[0]));
  return html`<${Panel} title="Tags" aside=${html`<span>${plural(tagged.tokens.length, "token")}</span>`}>
    <${Passage} class="tags" label="The text, each token in the colour of its tag" symbols=${symbols} paint=${paint} paintKey=${tagged}
      pos=${pos} stops=${isToken} onPick=${setPos} onHover=${setHover} say=${say} />
    <p class="readout">${isToken(shown) ? html`<span class="sym">${symbolText(pieces[shown].token.token)}</span> <b>${pieces[shown].token.tag}</b>
      ${" "}${percent(pieces[shown].token.probability)} %` : "Point at a token, or walk with the arrow keys: the probability of its tag."}</p>
    <ul class="tag-legend" aria-label="Tags in this text">${legend.map(([tag, count]) => html`<li key=${tag}>
      <i style=${{ "--hue": hue[tag] }} aria-hidden="true"></i>${tag} <small>${number(count)}</small></li>`)}</ul>
  <//>`;
}
