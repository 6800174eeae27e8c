// The help: the keys of the current screen, and the switch that turns single keys off.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { keysAreOn, helpRows, switchKeys } from "./keys.js";
import { SCREENS } from "./screens.js";

export function Help({ close }) {
  const dialog = useRef(null);
  const [on, setOn] = useState(keysAreOn());
  useEffect(() => dialog.current.showModal(), []);
  const order = (key) => Number(key) || 10;
  const rows = [...[...SCREENS].sort((a, b) => order(a.key) - order(b.key)).map(({ key, title }) => [key, title]), ...helpRows()];
  return html`<dialog ref=${dialog} class="help" aria-labelledby="help-title" onClose=${close}
    onClick=${(event) => event.target === dialog.current && dialog.current.close()}>
    <h2 id="help-title">Keys</h2>
    <dl class="keys">${rows.map(
      ([key, does]) => html`<div key=${key}><dt>${key.split(" ").map((name) => html`<kbd>${name}</kbd>`)}</dt><dd>${does}</dd></div>`)}</dl>
    <label class="switch"><input type="checkbox" checked=${on} onChange=${() => { switchKeys(!on); setOn(!on); }} /> Single keys are on</label>
    <p>Tab reaches everything as well. The address of the page holds the current view: copy it to return.</p>
    <p><button type="button" onClick=${() => dialog.current.close()}>Close</button></p>
  </dialog>`;
}
