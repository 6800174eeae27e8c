// The screens of the studio, and what a screen is.
//
// A screen is one ES module, screens/NAME.js, whose default export is a preact component. It receives
//   view     the page's state (frame/view.js): {screen, model, against, text, textid, pos, layer, unit, signal, ...}
//   go       go(changes): navigate, move the linked cursor; null or "" removes a key of the screen's own
//   api      api(path, body), api.lines, api.frame, api.text (frame/fetch.js); errors are ApiError, shown by <Failure>
//   info     the answer of /api/info: {version, models: [{name, arch, level, layers, units, signals, ...}],
//            tasks: [{name, kind, about, ...}], trainings, ...}
//   refresh  refresh(): ask for info again, after something that adds a model or a training
// and renders into <main>, below the heading. modelOf(view, info) returns the chosen language model, taskOf the model of a task.
// Text goes through preact or textContent, never into markup. The Content-Security-Policy has no unsafe-inline, so HTML
// has no style attributes; style objects and element.style are fine.
// For tests a screen exposes what it shows with probe(name, value) (frame/probe.js): window.__studio.NAME.
import { lazy } from "./lazy.js";

// A line of the table:
//   { name: "type", key: "2", group: "Read", title: "Type", lede: "Write, and see ...", load: lazy("type") },
// with `inside: true` if it shows the units of the chosen model, which must then be a network; with `tasks: true` if it
// shows the model of a task, and no language model.
export const GROUPS = ["Watch", "Read", "Look inside", "Write", "Use", "Learn"];
export const SCREENS = [
  { name: "train", key: "1", group: "Watch", title: "Train", lede: "A model learning, as it happens.", load: lazy("train") },
  { name: "type", key: "2", group: "Read", title: "Type", lede: "Write, and see what the model expects next.", load: lazy("type") },
  { name: "compare", key: "7", group: "Read", title: "Compare", lede: "Two models on one text, symbol by symbol.", load: lazy("compare") },
  { name: "sample", key: "8", group: "Write", title: "Sample", lede: "Let a model write; branch off anywhere; clamp a unit.", load: lazy("sample") },
  { name: "use", key: "u", group: "Use", title: "Use", lede: "Labels, tags, translations, forecasts: what the model of a task says, and why.", load: lazy("use"), tasks: true },
  { name: "serve", key: "9", group: "Use", title: "Serve", lede: "The same models behind a standard HTTP API.", load: lazy("serve") },
  { name: "cells", key: "3", group: "Look inside", title: "Cells", lede: "What single units do over a text.", load: lazy("cells"), inside: true },
  { name: "find", key: "4", group: "Look inside", title: "Find", lede: "Which units track a property, tested on held-out text.", load: lazy("find"), inside: true },
  { name: "memory", key: "5", group: "Look inside", title: "Memory", lede: "How far back models remember.", load: lazy("memory") },
  { name: "similar", key: "6", group: "Look inside", title: "Similar", lede: "Sentences that leave the network in a similar state.", load: lazy("similar"), inside: true },
  { name: "unrolled", key: "0", group: "Learn", title: "Unrolled", lede: "A network step by step, and its gradients flowing back.", load: lazy("unrolled") },
];

export const screenOf = (name) => SCREENS.find((screen) => screen.name === name);
export const modelOf = (view, info) => info.models.find(({ name }) => name === view.model);
export const taskOf = (view, info) => info.tasks.find(({ name }) => name === view.task);
export const isNetwork = ({ arch }) => arch !== "ngram";

// The model whose own text is read where none is given: an n-gram keeps none and takes that of a network.
export const textModel = (model, info) => (isNetwork(model) ? model : info.models.find((other) => isNetwork(other) && other.level === model.level));
