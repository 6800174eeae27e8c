// The time until a result is on the screen, for benchmarks: window.__studio.timings.NAME, in milliseconds.
const MOST = 200;

// Called when the work begins; the clock stops once the browser has painted the result.
export function recordTiming(name) {
  const start = performance.now();
  requestAnimationFrame(() => setTimeout(() => {
    const timings = ((window.__studio ??= {}).timings ??= {});
    (timings[name] ??= []).push(performance.now() - start);
    if (timings[name].length > MOST) timings[name].shift();
  }));
}
