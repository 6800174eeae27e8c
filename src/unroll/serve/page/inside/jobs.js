// An analysis that runs on the server: started, followed, cancelled. Esc cancels.
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { ApiError } from "../frame/fetch.js";
import { clock, percent } from "../frame/format.js";
import { useKeys } from "../frame/keys.js";
import { announce } from "../frame/live.js";

const EVERY = 300;

// Returns {job, error, begin(path, body), resume(id), reset(), cancel()}; job is the server's description, or null.
export function useJob(api, name = "analysis") {
  const [job, setJob] = useState(null);
  const [error, setError] = useState(null);
  const current = useRef(0);
  const timer = useRef(0);
  const latest = useRef(null);
  latest.current = job;

  const follow = async (turn, ask, onGone = setError) => {
    try {
      const update = await ask();
      if (turn !== current.current) return;
      setJob(update);
      if (update.state === "waiting" || update.state === "running") {
        timer.current = setTimeout(() => follow(turn, () => api(`inside/jobs/${update.id}`)), EVERY);
      } else if (update.state === "failed") {
        setError(new ApiError(400, update.error));
      } else {
        announce(`${name} ${update.state === "done" ? "finished" : "cancelled"}`);
      }
    } catch (problem) {
      if (turn !== current.current) return;
      setJob(null);
      (problem.status === 400 || problem.status === 404 ? onGone : setError)(problem);
    }
  };
  const begin = (path, body) => {
    clearTimeout(timer.current);
    current.current += 1;
    setError(null);
    setJob({ state: "waiting", phase: "waiting", done: 0, total: 1, seconds: 0 });
    follow(current.current, () => api(path, body));
  };
  // Follows a job of before, as the address names it after a reload; one that the server no longer has is dropped.
  const resume = (id) => {
    clearTimeout(timer.current);
    current.current += 1;
    setError(null);
    follow(current.current, () => api(`inside/jobs/${id}`), () => setJob(null));
  };
  const reset = () => {
    clearTimeout(timer.current);
    current.current += 1;
    setError(null);
    setJob(null);
  };
  const cancel = () => latest.current?.id && isRunning(latest.current) && api(`inside/jobs/${latest.current.id}/cancel`, {}).catch(setError);
  useEffect(() => () => {
    current.current += 1;
    clearTimeout(timer.current);
  }, []);
  useKeys({ Escape: () => (isRunning(latest.current) ? cancel() : false) }, { Esc: `cancel the ${name}` });
  return { job, error, begin, resume, reset, cancel };
}

export const isRunning = (job) => job !== null && (job.state === "waiting" || job.state === "running");

export function JobProgress({ job, cancel }) {
  const share = job.total > 1 ? Math.min(1, job.done / job.total) : null;
  return html`<div class="running">
    <progress max="1" value=${share} aria-label="Progress"></progress>
    <span>${job.state === "waiting" ? "waiting for its turn" : job.phase}${share === null ? "" : ` ${percent(share)} %`}</span>
    <span class="muted number">${clock(job.seconds)}</span>
    <button type="button" class="small" onClick=${cancel}>Cancel</button>
  </div>`;
}
