// What stands in place of a screen that has no model to show.
import { html } from "../vendor/preact.js";
import { Copy, Panel, Waiting } from "./parts.js";
import { isNetwork } from "./screens.js";

export function NoModel({ info, go }) {
  const training = info.trainings.some(({ state }) => state === "starting" || state === "running");
  return html`<${Panel} title="No model yet">
    ${training ? html`<${Waiting}>A model appears here as soon as the training begins.<//>` : html`
      <p>This screen shows a language model, and there is none in <code>${info.folder}</code>.</p>
      <p class="row"><button type="button" class="main" onClick=${() => go({ screen: "train", new: "1" })}>Train a model</button></p>`}<//>`;
}

const COMMAND = "unroll classify train FILE --text COLUMN --label COLUMN";

// For the screen that shows a classifier, while there is none.
export function NoClassifier({ info }) {
  const command = `${COMMAND} --out ${info.folder}/NAME`;
  return html`<${Panel} class="stack" title="No classifier yet">
    <p>This screen shows a classifier of texts, and there is none in <code>${info.folder}</code>. A table of texts and their labels (CSV, TSV or JSON
      lines) trains one, in a terminal; it appears here as soon as its training begins.</p>
    <p><code class="command">${command}</code> <${Copy} what="the command" text=${command} /></p><//>`;
}

const FEW = 6;

// For the screens that look inside a network, while the chosen model is an n-gram.
export function NoNetwork({ view, info, go }) {
  const networks = info.models.filter(isNetwork).slice(0, FEW);
  return html`<${Panel} title="An n-gram has no units">
    <p><b>${view.model}</b> counts symbols: it has no units, gates or state. This screen looks inside a network.</p>
    <p class="row">${networks.map(({ name }) => html`
      <button type="button" class="name" key=${name} onClick=${() => go({ model: name, run: name, pos: -1, unit: 0, layer: 0 })}>Look inside ${name}</button>`)}
      ${!networks.length && html`<button type="button" class="main" onClick=${() => go({ screen: "train", new: "1" })}>Train a network</button>`}</p><//>`;
}
