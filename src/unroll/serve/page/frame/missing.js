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

const COMMANDS = [
  ["labels of texts", "unroll classify train FILE --text COLUMN --label COLUMN"],
  ["tags of words", "unroll tag train FILE.conllu --column upos"],
  ["translations", "unroll translate train SOURCES TARGETS"],
  ["sequences of numbers", "unroll sequences train FILE.csv --target COLUMN"],
];

// For the screen that shows the model of a task, while there is none.
export function NoTask({ info }) {
  return html`<${Panel} class="stack" title="No model of a task yet">
    <p>This screen shows classifiers, taggers, translators and models of sequences, and there is none in <code>${info.folder}</code>. One of these trains one,
      in a terminal; it appears here as soon as its training begins.</p>
    ${COMMANDS.map(([what, start]) => {
      const command = `${start} --out ${info.folder}/NAME`;
      return html`<p key=${what}>${what}: <code class="command">${command}</code> <${Copy} what=${`the command for ${what}`} text=${command} /></p>`;
    })}<//>`;
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
