// How long it takes until something is on the screen, for benchmarks: window.__studio.timings.NAME, in milliseconds.
const KEPT = 200;

// Call it when the work begins; the time is taken once the browser has painted what came of it.
export function timed(name) {
  const begun = performance.now();
  requestAnimationFrame(() => setTimeout(() => {
    const all = ((window.__studio ??= {}).timings ??= {});
    (all[name] ??= []).push(performance.now() - begun);
    if (all[name].length > KEPT) all[name].shift();
  }));
}
