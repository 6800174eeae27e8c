// The distribution that the sampler draws from, as in engine/draw.py: temperature, then the filters. Computed here, without a request.

// next: {ids, nats} with the most probable first, and `never`, an id that is not drawn. Returns the probabilities, in the
// same order. Symbols beyond the list are left out: they are less probable than any in it.
export function reweigh(next, { temperature = 1, top_k = 0, top_p = 1, min_p = 0 }) {
  const nats = next.nats.map((v, k) => (next.ids[k] === next.never ? Infinity : v));
  const least = nats.reduce((low, v) => Math.min(low, v), Infinity);
  if (temperature === 0) {
    const best = nats.reduce((k, v, n) => (v < nats[k] || (v === nats[k] && next.ids[n] < next.ids[k]) ? n : k), 0);
    return nats.map((_, k) => (k === best ? 1 : 0));
  }
  let p = nats.map((v) => Math.exp((least - v) / temperature));
  p = normalize(p);
  const order = p.map((_, k) => k).sort((a, b) => p[b] - p[a] || next.ids[a] - next.ids[b]);
  const keep = new Set(top_k ? order.slice(0, top_k) : order);
  if (top_p < 1) {
    let cumulative = 0;
    for (const k of order) {
      if (cumulative >= top_p) keep.delete(k);
      cumulative += p[k];
    }
  }
  const most = p[order[0]];
  return normalize(p.map((v, k) => (keep.has(k) && v >= min_p * most ? v : 0)));
}

function normalize(p) {
  const sum = p.reduce((total, v) => total + v, 0);
  return p.map((v) => v / sum);
}

// What symbol k of a distribution writes where it is put.
export const writtenAt = (next, k) => next.written?.[k] ?? next.symbols[k];

// The index that is drawn with a uniform number in [0, 1).
export function drawIndex(p, uniform) {
  let sum = 0;
  for (let k = 0; k < p.length; k += 1) {
    sum += p[k];
    if (uniform < sum) return k;
  }
  return p.findLastIndex((v) => v > 0);
}

export const DEFAULTS = { temperature: 1, top_k: 0, top_p: 1, min_p: 0 };

// The sampler's options from the address.
export const optionsOf = (view) => ({
  temperature: view.t === undefined ? 1 : Number(view.t) || 0,
  top_k: Number(view.k) || 0,
  top_p: view.p === undefined ? 1 : Number(view.p) || 1,
  min_p: Number(view.m) || 0,
});
