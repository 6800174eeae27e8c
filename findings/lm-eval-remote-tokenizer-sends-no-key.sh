#!/usr/bin/env bash
# lm_eval: with a remote tokenizer, one key is needed in two places.
#
# Expected: with --model local-completions and tokenizer_backend=remote, the key in OPENAI_API_KEY (or given as
#   auth_token) goes with every request to the server.
# Seen: OPENAI_API_KEY goes with the completions only, and auth_token with the tokenizer's requests only. With
#   the variable alone a server that wants a key refuses /tokenizer_info, and tokenizer_backend=auto then takes
#   the server for one without a tokenizer and looks for one elsewhere. With auth_token alone the completions
#   carry the word Bearer and no key.
# Versions: lm_eval 0.4.13 with its extra "api" (no torch), Python 3.11. Seen on 2026-11-29.
# Who meets it: whoever measures a model behind a server that asks for a key.
# Instead: give both: OPENAI_API_KEY=KEY lm_eval --model_args ...,auth_token=KEY
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -qq "lm_eval[api]==0.4.13"

cat > "$folder/try.py" <<'PYTHON'
import json
import os
import platform
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.utils import check_remote_tokenizer_support

seen, locked = {}, False


class Server(BaseHTTPRequestHandler):
    """A server of one letter, one token; it writes down which key it gets, and asks for one if locked."""

    protocol_version = "HTTP/1.1"

    def answer(self):
        seen.setdefault(self.path, set()).add(self.headers.get("Authorization"))
        status = 200
        text = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if locked and self.headers.get("Authorization") != "Bearer KEY":
            reply, status = {"error": "no key"}, 401
        elif self.path == "/tokenizer_info":
            reply = {"eos_token": "z", "bos_token": None, "pad_token": None}
        elif self.path == "/tokenize":
            reply = {"tokens": [ord(letter) for letter in json.loads(text)["prompt"]]}
        else:
            letters = ["a", "b", "z"]
            logprobs = {"tokens": letters, "token_logprobs": [None, -1.0, -1.0], "top_logprobs": [None, {"b": -1.0}, {"z": -1.0}]}
            reply = {"id": "1", "object": "text_completion", "choices": [{"index": 0, "text": "abz", "logprobs": logprobs}]}
        data = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}/v1/completions"
print("Python", platform.python_version(), "lm_eval", version("lm_eval"))


def keys(variable, token):
    seen.clear()
    os.environ.pop("OPENAI_API_KEY", None)
    if variable:
        os.environ["OPENAI_API_KEY"] = variable
    model = LocalCompletionsAPI(model="m", base_url=url, tokenizer_backend="remote", auth_token=token)
    model.loglikelihood([Instance(request_type="loglikelihood", doc={}, arguments=("a", "b"), idx=0)], disable_tqdm=True)
    print(f"--- OPENAI_API_KEY={variable or ''} auth_token={token or ''}")
    for path in sorted(seen):
        print(f"{path}: Authorization {', '.join(map(repr, seen[path]))}")
    tokenizer = seen["/tokenizer_info"] | seen["/tokenize"]
    assert len(tokenizer) == 1 == len(seen["/v1/completions"])
    return {*tokenizer}.pop(), {*seen["/v1/completions"]}.pop().strip()


assert keys("KEY", None) == (None, "Bearer KEY"), "the variable is used differently"
assert keys(None, "KEY") == ("Bearer KEY", "Bearer"), "auth_token is used differently"
assert keys("KEY", "KEY") == ("Bearer KEY", "Bearer KEY"), "both together do not help"
locked = True
os.environ["OPENAI_API_KEY"] = "KEY"
found = {token: check_remote_tokenizer_support(url, auth_token=token) for token in (None, "KEY")}
print("--- a server that wants the key, OPENAI_API_KEY=KEY: tokenizer found by auth_token:", found)
assert found == {None: False, "KEY": True}, "the tokenizer is found differently"
server.shutdown()
PYTHON
"$folder/venv/bin/python" "$folder/try.py" 2>"$folder/progress" || { cat "$folder/progress" >&2; exit 1; }
echo "as recorded"
