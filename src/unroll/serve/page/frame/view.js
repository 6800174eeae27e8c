// The state of the page: one flat object in the URL's hash, so that every view is a link and a reload brings it back.
//
//   #/type?model=book&text=The%20quick&pos=3   ->   {screen: "type", model: "book", text: "The quick", pos: 3, ...}
//
// The linked cursor is the same on all screens: model, text (or textid: a long text that the server holds), pos (the
// symbol), layer, unit, signal. A screen may have keys of its own; their values are strings.
import { useEffect, useState } from "../vendor/preact.js";

export const START = {
  screen: "", model: "", against: "", text: "", textid: "", pos: -1, layer: 0, unit: 0, signal: "",
};
const INTEGERS = ["pos", "layer", "unit"];

export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const view = { ...START, screen: /^[a-z]*$/.test(path) ? path : "" };
  for (const [name, value] of new URLSearchParams(query)) {
    if (name === "screen" || name === "token") continue;
    if (!INTEGERS.includes(name)) view[name] = value;
    else if (/^-?\d{1,9}$/.test(value)) view[name] = Number(value);
  }
  return view;
}

export function format(view) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(view)) {
    if (name !== "screen" && value !== null && value !== undefined && value !== "" && value !== START[name]) {
      query.set(name, String(value));
    }
  }
  const search = query.toString();
  return `#/${view.screen}${search ? `?${search}` : ""}`;
}

// Returns [view, go]. go(changes) merges; null or "" removes a key. A new screen or model is a step of the browser's
// history; a move of the cursor, or go(changes, {quiet: true}), is not.
export function useView() {
  const [view, setView] = useState(parse(location.hash));
  useEffect(() => {
    const listener = () => setView(parse(location.hash));
    addEventListener("hashchange", listener);
    addEventListener("popstate", listener);
    return () => {
      removeEventListener("hashchange", listener);
      removeEventListener("popstate", listener);
    };
  }, []);
  const go = (changes, { quiet = false } = {}) => {
    const before = parse(location.hash);
    const after = format({ ...before, ...changes });
    if (after === format(before)) return;
    const step = !quiet && ["screen", "model", "against", "task"].some((name) => name in changes && changes[name] !== before[name]);
    history[step ? "pushState" : "replaceState"](null, "", after);
    setView(parse(after));
  };
  return [view, go];
}

const LONGEST_IN_URL = 1500;

// The text of the linked cursor, or another of that name, from the address or the server: [text, setText]; text is null
// while it loads. setText(text, changes) also goes to `changes`, for example {pos: 0}.
export function useText(view, go, api, name = "text") {
  const [texts, setTexts] = useState({});
  const id = view[`${name}id`];
  useEffect(() => {
    if (id && !(id in texts)) {
      api(`texts/${id}`).then(
        (answer) => setTexts((before) => ({ ...before, [id]: answer.text })),
        () => go({ [`${name}id`]: "" }, { quiet: true }),
      );
    }
  }, [id]);
  const setText = async (text, changes = {}) => {
    if (text.length <= LONGEST_IN_URL) return go({ ...changes, [name]: text, [`${name}id`]: "" });
    const kept = await api("texts", { text });
    setTexts((before) => ({ ...before, [kept.id]: text }));
    go({ ...changes, [name]: "", [`${name}id`]: kept.id });
  };
  return [id ? (texts[id] ?? null) : (view[name] ?? ""), setText];
}
