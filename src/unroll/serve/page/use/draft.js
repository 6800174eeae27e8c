// The text in the box of Use: what is being typed, ahead of the address.
import { useEffect, useRef, useState } from "../vendor/preact.js";
import { parse, useText } from "../frame/view.js";

// [content, save]: the text, `example` where the address has none, null while it loads; save(text, wait) shows it at once
// and puts it into the address after `wait` milliseconds.
export function useDraft(view, go, api, example = "") {
  const [text, setText] = useText(view, go, api, "use");
  const [draft, setDraft] = useState(null);
  const timer = useRef(0);
  const save = (now, wait) => {
    setDraft(now);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      timer.current = 0;
      const { use = "", useid = "" } = parse(location.hash);
      if (use === (view.use ?? "") && useid === (view.useid ?? "")) setText(now);
      else setDraft(null); // the address has another text by now
    }, wait);
  };
  // The address has caught up or has another text; that never replaces what is being typed, or a box that was emptied.
  useEffect(() => {
    if (!timer.current && text) setDraft(null);
  }, [text]);
  return [draft ?? (text === "" ? example : text), save];
}
