#!/usr/bin/env bash
# openai (npm): each request carries several x-stainless-* headers.
#
# Expected: a request of the client carries Content-Type and Authorization, so a server that
#   allows these two in its answer to a CORS preflight can be called from a page.
# Seen: the client adds x-stainless-* headers that tell of the language, the package, the operating
#   system, the processor, the runtime and the number of the try (and of the timeout, if the call sets one).
#   A browser asks leave for each of them in the preflight, and blocks the request if one is not allowed.
# Versions: openai 7.59.0, Node 20.20. Seen on 2026-11-29.
# Who meets it: whoever writes a server with an OpenAI-like API for pages of another origin.
# Instead: answer the preflight with the names asked for in Access-Control-Request-Headers, not with a fixed list.
#   A caller can leave a header out with defaultHeaders: {"x-stainless-lang": null, ...}.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund openai@7.59.0

cat > try.mjs <<'JAVASCRIPT'
import http from "node:http";
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const version = JSON.parse(readFileSync("node_modules/openai/package.json")).version;
console.log("Node", process.version, "openai", version);

let headers = {};
const answer = { id: "1", object: "text_completion", created: 1, model: "m", choices: [{ index: 0, text: "b", finish_reason: "stop", logprobs: null }] };
const server = http.createServer((request, response) => {
  headers = request.headers;
  request.resume();
  request.on("end", () => {
    response.setHeader("Content-Type", "application/json");
    response.end(JSON.stringify(answer));
  });
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));

const baseURL = `http://127.0.0.1:${server.address().port}/v1`;
const names = async (options, call) => {
  await new OpenAI({ baseURL, apiKey: "none", maxRetries: 0, ...options }).completions.create({ model: "m", prompt: "a" }, call);
  return Object.keys(headers).sort();
};
const sent = await names({});
const stainless = sent.filter((name) => name.startsWith("x-stainless-"));
console.log("all headers:", sent.join(", "));
console.log("x-stainless-*:", stainless.map((name) => `${name}: ${headers[name]}`).join(", "));

const without = await names({ defaultHeaders: Object.fromEntries(stainless.map((name) => [name, null])) });
const left = without.filter((name) => name.startsWith("x-stainless-"));
console.log("left when defaultHeaders set each to null:", left.join(", ") || "none");

const timed = (await names({}, { timeout: 5000 })).filter((name) => !sent.includes(name));
console.log("more when the call sets a timeout:", timed.join(", ") || "none");
server.close();
server.closeAllConnections();
const fail = (message) => {
  console.error(message);
  process.exitCode = 1;
};
if (stainless.length < 2) fail("the client no longer sends several such headers");
if (!timed.includes("x-stainless-timeout")) fail("a timeout adds no header any more");
if (left.length > 0) fail("null no longer leaves a header out");
JAVASCRIPT
node try.mjs
echo "as recorded"
