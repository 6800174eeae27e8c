// The screens of the studio, and what a screen is.
//
// A screen is one ES module, screens/NAME.js, whose default export is a preact component. It is given
//   view     the page's state (frame/view.js): {screen, model, against, text, textid, pos, layer, unit, signal, ...}
//   go       go(changes): navigate, move the linked cursor; null or "" removes a key of the screen's own
//   api      api(path, body), api.lines, api.frame, api.text (frame/fetch.js); errors are ApiError, shown by <Failure>
//   info     what /api/info says: {version, models: [{name, arch, level, layers, units, signals, ...}], trainings, ...}
//   refresh  refresh(): ask for info again, after something that adds a model or a training
// and renders into <main>, which has a heading already. `model` of info is found by modelOf(view, info).
// All that is shown as text goes through preact or textContent, never through markup made of it; no style attribute in
// HTML (the Content-Security-Policy has no unsafe-inline): style objects and element.style are fine.
// A screen exposes what it shows for tests with probe(name, value) (frame/probe.js): window.__studio.NAME.
import { lazy } from "./lazy.js";

// A line of the table:
//   { name: "type", key: "2", group: "Read", title: "Type", lede: "Write, and see ...", load: lazy("type") },
// Groups, in this order: Watch, Read, Look inside, Write, Use, Learn.
export const SCREENS = [];

export const screenOf = (name) => SCREENS.find((screen) => screen.name === name);
export const modelOf = (view, info) => info.models.find(({ name }) => name === view.model);
