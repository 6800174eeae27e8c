// The studio's frame around the screens; frame/screens.js says what a screen is.
import { Component, html, render, useCallback, useEffect, useRef, useState } from "./vendor/preact.js";
import { api as ask, takeToken } from "./frame/fetch.js";
import { clock, fixed, number, scaleOf, short } from "./frame/format.js";
import { Help } from "./frame/help.js";
import { useKeys } from "./frame/keys.js";
import { announce } from "./frame/live.js";
import { NoModel, NoNetwork } from "./frame/missing.js";
import { Failure, Waiting, useReturn, withCode } from "./frame/parts.js";
import { GROUPS, SCREENS, taskOf, isNetwork, modelOf, screenOf } from "./frame/screens.js";
import { chosenTheme, nextTheme } from "./frame/theme.js";
import { useView } from "./frame/view.js";

takeToken();

const RETRY = [1, 2, 4, 8, 15, 30];

// Polls /api/info: often while a model trains, never while the page is hidden, and ever more rarely while the server is down.
function useInfo() {
  const [state, setState] = useState({ info: null, error: null, tries: 0 });
  const timer = useRef(0);
  const tries = useRef(0);
  const refresh = useCallback(async () => {
    clearTimeout(timer.current);
    let wait = 15;
    try {
      const info = await ask("info");
      tries.current = 0;
      wait = info.more ? 0.1 : info.trainings.some(({ state: now }) => now === "running" || now === "starting") ? 2 : 15;
      setState({ info, error: null });
    } catch (error) {
      wait = RETRY[Math.min(tries.current, RETRY.length - 1)];
      tries.current += 1;
      setState((before) => ({ ...before, error }));
      if (error.status === 401 || error.status === 403) return;
    }
    timer.current = setTimeout(() => document.hidden || refresh(), 1000 * wait);
  }, []);
  useEffect(() => {
    refresh();
    const onVisible = () => document.hidden || refresh();
    document.addEventListener("visibilitychange", onVisible);
    return () => document.removeEventListener("visibilitychange", onVisible);
  }, []);
  return { ...state, refresh };
}

function App() {
  const { info, error, refresh } = useInfo();
  const [view, go] = useView();
  const [help, setHelp] = useState(false);
  const [, setTheme] = useState(chosenTheme());
  const screen = screenOf(view.screen);

  // By default: the newest model, on the first screen that shows it.
  useEffect(() => {
    if (!info) return;
    const changes = {};
    if (!screen) changes.screen = info.models.length || !info.tasks.length ? "train" : "use";
    if (!modelOf(view, info) && info.models.length) changes.model = info.models[0].name;
    if (screen?.tasks && !taskOf(view, info) && info.tasks.length) changes.task = info.tasks[0].name;
    if (Object.keys(changes).length) go(changes, { quiet: true });
  }, [info, view.screen, view.model, view.task]);

  const turn = () => {
    const now = nextTheme();
    setTheme(now);
    announce(`theme: ${now}`);
  };
  useKeys(
    {
      ...Object.fromEntries(SCREENS.map(({ key, name }) => [key, () => go({ screen: name })])),
      d: turn,
      "?": () => setHelp(true),
      "/": () => document.querySelector("[data-text]")?.focus(),
    },
    { d: "light, dark or system theme", "?": "this help", "/": "focus the text", Esc: "leave the text, or close" },
  );
  useEffect(() => {
    document.title = screen ? `${screen.title} · unroll studio` : "unroll studio";
    // On a narrow window the screens are a strip that scrolls: the current one stays in sight.
    const [rail, tab] = [document.querySelector(".rail"), document.querySelector(".rail [aria-current]")];
    if (tab) rail.scrollLeft = tab.offsetLeft + tab.offsetWidth / 2 - rail.clientWidth / 2;
  }, [screen, info === null]);
  // Nothing pulses while the server does not answer.
  useEffect(() => void document.documentElement.classList.toggle("offline", error !== null), [error]);

  if (!info) return html`<div class="opening">${error ? html`<${NoAccess} error=${error} retry=${refresh} />` : "unroll"}</div>`;
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById("main").focus(); }}>Skip to the screen</a>
    <header class="top">
      <a class="mark" href="#/train" onClick=${(event) => { event.preventDefault(); go({ screen: "train" }); }}><${Mark} /> unroll <span>studio</span></a>
      ${screen?.tasks ? info.tasks.length > 0 && html`
        <${Pick} label="Model" value=${view.task} models=${info.tasks} onChange=${(task) => go({ task, label: null, pos: -1 })} />`
      : info.models.length > 0 && html`
        <${Pick} label="Model" value=${view.model} models=${info.models} onChange=${(model) => go({ model, run: model, new: "", with: "", pos: -1, unit: 0, layer: 0 })} />`}
      <${TrainingProgress} info=${info} go=${go} />
      <span class="grow"></span>
      <button type="button" class="icon" title="Theme: ${chosenTheme()} (d)" aria-label="Theme: ${chosenTheme()}" onClick=${turn}>
        ${{ auto: "◐", light: "○", dark: "●" }[chosenTheme()]}</button>
      <button type="button" class="icon" title="Keys (?)" aria-label="Help" onClick=${() => setHelp(true)}>?</button>
    </header>
    <nav class="rail" aria-label="Screens">${groups().map(([group, screens]) => html`<div key=${group}><h3>${group}</h3><ul>
      ${screens.map(({ name, key, title }) => html`<li key=${name}>
        <a href=${`#/${name}`} aria-current=${name === view.screen ? "page" : undefined} title=${`${title} (${key})`}
        onClick=${(event) => { if (event.metaKey || event.ctrlKey || event.shiftKey) return; event.preventDefault(); go({ screen: name }); }}>
          <kbd>${key}</kbd>${title}</a></li>`)}
    </ul></div>`)}</nav>
    <main id="main" tabindex="-1">
      ${error && html`<${ServerLost} error=${error} retry=${refresh} />`}
      ${screen && html`<div class="title"><h1>${screen.title}</h1><p>${screen.lede}</p></div>
        <${Guard} key=${screen.name}><${ScreenBody} screen=${screen} view=${view} go=${go} api=${ask} info=${info} refresh=${refresh} /><//>`}
    </main>
    <footer class="status"><${Status} screen=${screen} view=${view} info=${info} error=${error} /></footer>
    ${help && html`<${Help} close=${() => setHelp(false)} />`}`;
}

const groups = () => GROUPS.map((group) => [group, SCREENS.filter((screen) => screen.group === group)]).filter(([, screens]) => screens.length);

// A screen, loaded when it is first shown.
function ScreenBody({ screen, ...props }) {
  const [loaded, setLoaded] = useState(null);
  const [error, setError] = useState(null);
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    let current = true;
    setError(null);
    screen.load().then((component) => current && setLoaded(() => component), (problem) => current && setError(problem));
    return () => (current = false);
  }, [screen, attempt]);
  useReturn(error, () => setAttempt((before) => before + 1));
  if (error) return html`<${Failure} error=${error} retry=${() => setAttempt(attempt + 1)} />`;
  const model = modelOf(props.view, props.info);
  if (!model && screen.name !== "train" && !screen.tasks) return html`<${NoModel} ...${props} />`;
  if (screen.inside && !isNetwork(model)) return html`<${NoNetwork} ...${props} />`;
  return loaded ? html`<${loaded} ...${props} />` : html`<${Waiting}>Opening…<//>`;
}

// A screen that fails does not take the frame with it.
class Guard extends Component {
  componentDidCatch(error) {
    console.error(error);
    this.setState({ error });
  }
  render({ children }, { error }) {
    return error ? html`<${Failure} error=${error} retry=${() => this.setState({ error: null })} />` : children;
  }
}

export function Pick({ label, value, models, onChange, none }) {
  return html`<label class="pick"><span>${label}</span><select aria-label=${label} value=${value} onChange=${(event) => onChange(event.target.value)}>
    ${none && html`<option value="">${none}</option>`}
    ${models.map(({ name, brief }) => html`<option value=${name} key=${name} title=${brief} selected=${name === value}>${name}</option>`)}
  </select></label>`;
}

// The running training, shown on every screen.
function TrainingProgress({ info, go }) {
  const run = info.trainings.find(({ state }) => state === "running" || state === "starting");
  if (!run) return null;
  const share = run.steps ? run.step / run.steps : 0;
  return html`<a class="training-progress" href="#/train" title="Training" onClick=${(event) => { event.preventDefault(); go({ screen: "train", run: run.name }); }}>
    <span class="pulse" aria-hidden="true"></span><span>${run.name}</span>
    <progress value=${share} max="1" aria-label="Progress of the training"></progress>
    <span class="number">${run.steps ? `${number(run.step)} / ${number(run.steps)}` : "starting"}</span>
    ${run.left !== null && html`<span class="number late">${clock(run.left)} left</span>`}
  </a>`;
}

function Status({ screen, view, info, error }) {
  const of = screen?.tasks ? taskOf : modelOf;
  const model = of(view, info);
  if (!model) return html`<span>no ${screen?.tasks ? "model of a task" : "model"} yet</span>`;
  return html`
    <span><b>${model.name}</b></span>
    ${screen?.tasks ? html`<${TaskFacts} model=${model} />` : html`<${ModelFacts} model=${model} />`}
    <span class="grow"></span>
    <span class=${error ? "bad" : ""}>${error ? (error.status === 401 ? "this page has an old address" : "the server does not answer") : `unroll ${info.version}`}</span>`;
}
const ModelFacts = ({ model }) => html`
  <span>${model.kind}</span>
  <span>${short(model.parameters)} ${model.arch === "ngram" ? "n-grams" : "weights"}</span>
  <span>${plural(model)}</span>
  ${model.nats !== null && html`<span>${fixed(scaleOf([model]).of(model.nats, model), 3)} ${scaleOf([model]).unit}</span>`}`;
const TaskFacts = ({ model }) => html`
  <span>${model.about}</span>
  <span>${short(model.parameters)} weights</span>
  ${model.held_out && html`<span>${model.held_out}</span>`}`;
const plural = (model) => `${number(model.vocab_size)} ${{ char: "characters", byte: "bytes", word: "words", bpe: "pieces" }[model.level] ?? "symbols"}`;

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function ServerLost({ error, retry }) {
  return html`<div class="server-lost" role="alert"><p>
    <strong>${capital(error.message)}.</strong> ${error.fix && withCode(`${capital(error.fix)}. `)}${error.status === 401 ? "This page can only show what it has." : "This page keeps what it has and retries automatically."}</p>
    ${error.status !== 401 && html`<button type="button" class="small" onClick=${retry}>Retry now</button>`}</div>`;
}

function NoAccess({ error, retry }) {
  if (error.status !== 401) return html`<${Failure} error=${error} retry=${retry} />`;
  return html`<div class="locked"><h1>This page needs its key</h1>
    <p>Open the address that <code>unroll studio</code> printed in the terminal: it ends in <code>#token=…</code>, a new key at each launch.</p></div>`;
}

export const Mark = () => html`<svg viewBox="0 0 34 16" width="34" height="16" aria-hidden="true">
  <path d="M8 8h6M20 8h6" class="flow" /><circle cx="5" cy="8" r="3.2" /><circle cx="17" cy="8" r="3.2" /><circle cx="29" cy="8" r="3.2" /></svg>`;

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
