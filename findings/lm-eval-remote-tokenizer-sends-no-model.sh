#!/usr/bin/env bash
# lm_eval: the remote tokenizer never tells the server which model it asks about.
#
# Expected: with --model local-completions and tokenizer_backend=remote, the tokenizer requests name
#   the model, as the completion requests of the same run do.
# Seen: GET {base}/tokenizer_info has no query and POST {base}/tokenize holds "prompt" and "add_special_tokens"
#   only, both when lm_eval looks for the tokenizer (tokenizer_backend=auto) and when it uses it. A server
#   of several models cannot know whose vocabulary is meant; a wrong guess gives wrong ids and no error.
# Versions: lm_eval 0.4.13 with its extra "api" (no torch), Python 3.11. Seen on 2026-11-29.
# Who meets it: whoever writes a server of several models and wants lm_eval to measure them.
# Instead: give each model a base URL of its own. lm_eval cuts "/v1/completions" off and keeps the rest, so
#   base_url=http://HOST/NAME/v1/completions asks /NAME/tokenizer_info and /NAME/tokenize (shown below).
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq "lm_eval[api]==0.4.13"

cat > "$folder/try.py" <<'PYTHON'
import json
import platform
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI

seen = []


class Server(BaseHTTPRequestHandler):
    """A server of one letter, one token; it writes down what it is asked."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.loads(text) if text else None
        seen.append((self.command, self.path, body))
        if self.path.endswith("/tokenizer_info"):
            reply = {"eos_token": "z", "bos_token": None, "pad_token": None}
        elif self.path.endswith("/tokenize"):
            reply = {"tokens": [ord(letter) for letter in body["prompt"]]}
        else:
            choices = []
            for index, ids in enumerate(body["prompt"]):
                letters = [chr(i) for i in ids] + ["z"]
                logprobs = {
                    "tokens": letters,
                    "token_logprobs": [None] + [-1.0] * (len(letters) - 1),
                    "top_logprobs": [None] + [{letter: -1.0} for letter in letters[1:]],
                }
                choices.append({"index": index, "text": "".join(letters), "logprobs": logprobs})
            reply = {"id": "1", "object": "text_completion", "choices": choices}
        data = json.dumps(reply).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("Python", platform.python_version(), "lm_eval", version("lm_eval"))

for backend, before in (("remote", ""), ("auto", ""), ("remote", "/second")):
    seen.clear()
    url = f"http://127.0.0.1:{server.server_port}{before}/v1/completions"
    model = LocalCompletionsAPI(model="second", base_url=url, tokenizer_backend=backend)
    request = Instance(request_type="loglikelihood", doc={}, arguments=("ab", "cd"), idx=0)
    result = model.loglikelihood([request], disable_tqdm=True)
    print(f"--- model=second tokenizer_backend={backend} base_url=http://HOST{before}/v1/completions gives {result}")
    for method, path, body in seen:
        print(method, path, *([json.dumps(body)] if body else []))
    tokenizer = [entry for entry in seen if "/token" in entry[1]]
    completions = [entry for entry in seen if "/completions" in entry[1]]
    assert {(method, path) for method, path, _ in tokenizer} == {
        ("GET", f"{before}/tokenizer_info"),
        ("POST", f"{before}/tokenize"),
    }, "the tokenizer is asked elsewhere"
    assert all(set(body) == {"prompt", "add_special_tokens"} for method, _, body in tokenizer if method == "POST"), "the body has changed"
    assert completions and all(body["model"] == "second" for _, _, body in completions), "a completion names no model"
server.shutdown()
PYTHON
"$folder/venv/bin/python" "$folder/try.py" 2>"$folder/progress" || { cat "$folder/progress" >&2; exit 1; }
echo "as recorded"
