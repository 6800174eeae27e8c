// Requests to the server: JSON, lines that arrive one by one, and arrays in binary. Each launch has its own token.
const STORAGE_KEY = "unroll.token";

// The address that the terminal prints ends in #token=...; the token is kept for this tab and removed from the address bar.
export function takeToken() {
  const match = /(?:^#|[#&?/])token=([A-Za-z0-9_-]+)/.exec(location.hash);
  if (match) {
    sessionStorage.setItem(STORAGE_KEY, match[1]);
    history.replaceState(null, "", location.hash.replace(/[&?]?token=[A-Za-z0-9_-]+/, "") || "#/");
  }
}

export class ApiError extends Error {
  constructor(status, { message = "the server gave no reason", allowed = "", fix = "", code = "" } = {}) {
    super(message);
    Object.assign(this, { status, allowed, fix, code });
  }
}

export const unreachable = () =>
  new ApiError(0, { message: "the server does not answer", fix: "check that `unroll studio` is still running" });

const RESTARTED = { message: "the studio was started again and has a new address",
  fix: "open the address, with its #token=…, that `unroll studio` printed last" };

let lost = false; // whether the last request found no server

async function send(path, body, { signal, method } = {}) {
  const token = sessionStorage.getItem(STORAGE_KEY);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const options = { headers, signal, method: method ?? (body === undefined ? "GET" : "POST"), cache: "no-store" };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(path.startsWith("/") ? path : `/api/${path}`, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    lost = true;
    throw unreachable();
  }
  if (lost) dispatchEvent(new Event("answering"));
  lost = false;
  if (answer.ok) return answer;
  let reason = {};
  try {
    reason = (await answer.json()).error ?? {};
  } catch {
    // Only a JSON answer carries a reason.
  }
  throw new ApiError(answer.status, answer.status === 401 ? RESTARTED : reason);
}

// GET /api/PATH, or POST with a body: api("read", {model, text}). Throws ApiError {message, allowed, fix, status},
// and AbortError where options.signal is aborted.
export async function api(path, body, options) {
  return (await send(path, body, options)).json();
}

// As api, for an answer that is text.
api.text = async (path, body, options) => (await send(path, body, options)).text();

// As api, for an answer of JSON lines: calls onLine(object) for each as it arrives.
api.lines = async (path, body, onLine, options) => {
  const reader = (await send(path, body, options)).body.getReader();
  const decoder = new TextDecoder();
  let partial = "";
  for (;;) {
    const { done, value } = await reader.read();
    partial += decoder.decode(value ?? new Uint8Array(), { stream: !done });
    const lines = partial.split("\n");
    partial = lines.pop();
    for (const line of lines) if (line) onLine(JSON.parse(line));
    if (done) return;
  }
};

const ARRAYS = { u1: Uint8Array, i4: Int32Array, f4: Float32Array, f8: Float64Array };

// As api, for a binary frame: u32 length of the header (little endian), JSON header {arrays: [{name, dtype, shape}],
// ...}, zeros up to a multiple of 8, then each array, each padded to a multiple of 8. Returns the header with the
// arrays by name: {..., arrays: {name: {data: TypedArray, shape: [..]}}}.
api.frame = async (path, body, options) => readFrame(await (await send(path, body, options)).arrayBuffer());

export function readFrame(buffer) {
  const size = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
  let offset = align(4 + size);
  const arrays = {};
  for (const { name, dtype, shape } of header.arrays) {
    const count = shape.reduce((product, n) => product * n, 1);
    arrays[name] = { data: new ARRAYS[dtype](buffer, offset, count), shape };
    offset = align(offset + arrays[name].data.byteLength);
  }
  return { ...header, arrays };
}

const align = (n) => Math.ceil(n / 8) * 8;
