// The runs of the Train screen: the list of them, and what the server knows of those that are shown.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";

export const ACTIVE = ["starting", "running", "stopping"];
export const MOST_CURVES = 8;

// The runs: a button that shows one, and a check box that draws its curve beside the chosen one.
export function Runs({ names, run, drawn, counted, info, choose, onDraw }) {
  const box = useRef(null);
  useEffect(() => {
    const button = box.current.querySelector("[aria-pressed=true]");
    if (button) box.current.scrollTop = button.offsetTop - box.current.clientHeight / 2;
  }, [run, names.length]);
  return html`<div class="runs" ref=${box} role="group" aria-label="Trainings">${names.map((name) => {
    const state = info.trainings.find((training) => training.name === name)?.state;
    const ticked = drawn.includes(name);
    return html`<span class="run" key=${name}>
      ${!counted.includes(name) && run && names.length > 1 && html`<input type="checkbox" aria-label=${`Draw ${name}`} checked=${ticked}
        disabled=${name === run || (!ticked && drawn.length >= MOST_CURVES)}
        onChange=${() => onDraw(ticked ? drawn.filter((other) => other !== name) : [...drawn, name])} />`}
      <button type="button" aria-pressed=${name === run} onClick=${() => choose(name)}>
        ${ACTIVE.includes(state) && html`<span class="pulse" aria-hidden="true"></span>`}${name}${state === "paused" ? html`<small> paused</small>` : ""}
      </button></span>`;
  })}</div>`;
}

// Polls a run every 0.7 s while it trains, and keeps earlier events: onChange({data}) or onChange({error}).
function follow(api, run, onChange) {
  let stopped = false;
  let timer = 0;
  const history = { turn: 0, seen: 0, events: [], samples: [] };
  const poll = async () => {
    clearTimeout(timer);
    let wait = 700;
    try {
      const update = await api(`runs/${encodeURIComponent(run)}?turn=${history.turn}&events=${history.seen}&samples=${history.samples.length}`);
      if (stopped) return;
      if (update.fresh) Object.assign(history, { events: [], samples: [] });
      if (update.events.length || update.fresh) history.events = [...history.events, ...update.events];
      if (update.samples.length || update.fresh) history.samples = [...history.samples, ...update.samples];
      Object.assign(history, { turn: update.turn, seen: update.seen });
      // Once the server has measured the text it knows its words: request everything again.
      const wordless = update.text?.level && history.samples.some(({ known: words }) => !words);
      if (wordless) history.turn = 0;
      onChange({ data: { ...update, events: history.events, samples: history.samples }, error: null });
      wait = wordless ? 50 : ACTIVE.includes(update.state) || !update.text ? 700 : 5000;
    } catch (error) {
      if (stopped) return;
      onChange({ error });
      wait = 3000;
    }
    timer = setTimeout(() => document.hidden || poll(), wait);
  };
  const onVisible = () => document.hidden || poll();
  document.addEventListener("visibilitychange", onVisible);
  poll();
  const stop = () => {
    stopped = true;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", onVisible);
  };
  return { poll, stop };
}

// Several runs by name, {data, error} each; poll(name) asks for one at once.
export function useRuns(api, names) {
  const [runs, setRuns] = useState({});
  const followers = useRef({});
  useEffect(() => {
    const current = followers.current;
    for (const name of names) {
      current[name] ??= follow(api, name, (change) => setRuns((before) => ({ ...before, [name]: { data: null, ...before[name], ...change } })));
    }
    for (const name of Object.keys(current).filter((other) => !names.includes(other))) {
      current[name].stop();
      delete current[name];
    }
  }, [JSON.stringify(names)]);
  useEffect(() => () => Object.values(followers.current).forEach(({ stop }) => stop()), []);
  return { runs, poll: (name) => followers.current[name]?.poll() };
}
