"""Several models behind one server: nothing is answered for a model that was not named, and each can be addressed."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from serve.live import LEVELS, TOKENIZERS, Live, error, make_model, serving
from unroll.artifact.open import open_model
from unroll.lm.surprisal import score_texts
from unroll.serve.completions.routes import OF_A_MODEL, ROUTES

TEXTS = ("the cat sat on the mat.", "who was it?\na dog and a cat", "the dog sat on the log. a cat and a dog.")

BODIES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "the", "max_tokens": 2},
    "/v1/embeddings": {"input": "the"},
    "/tokenize": {"prompt": "the"},
    "/detokenize": {"tokens": [1]},
    "/tokenizer_info": {},
}
"""Every endpoint that is about one language model, without its name."""
TASKS = ("/v1/classify", "/classify", "/v1/tag", "/tag", "/translate", "/predict")
"""Those of the models of tasks."""


def ask(live: Live, path: str, body: dict[str, Any]) -> httpx.Response:
    if ROUTES[OF_A_MODEL + path.partition("/models/")[0]][0] == "GET":
        return live.get(path, params=body)
    return live.post(path, body)


@pytest.fixture(scope="module")
def alone(folders: dict[str, Path]) -> Iterator[Live]:
    with serving(folders["word"]) as live:
        yield live


def test_every_endpoint_of_a_model_is_asked_here() -> None:
    exceptions = {"/v1/chat/completions", "/v1/models", "/v1/models/{name}", *TASKS}
    assert {OF_A_MODEL + path for path in {*BODIES, *exceptions}} == {path for path in ROUTES if OF_A_MODEL in path}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("no_name", [{}, {"model": None}])
def test_without_a_name_several_models_answer_nothing(live: Live, path: str, no_name: dict[str, Any]) -> None:
    answer = ask(live, path, BODIES[path] | (no_name if path != "/tokenizer_info" else {}))
    assert answer.status_code == 400
    fault = error(answer)
    assert fault["param"] == "model" and fault["code"] == "missing_required_parameter"
    assert "names no model, and 4 are served" in fault["message"]
    assert fault["allowed"] == ", ".join(LEVELS) and fault["fix"]


@pytest.mark.parametrize("path", BODIES)
def test_one_model_needs_no_name(alone: Live, path: str) -> None:
    nameless = ask(alone, path, BODIES[path] | ({"seed": 1} if path == "/v1/completions" else {}))
    assert nameless.status_code == 200, nameless.text
    with_name = ask(alone, path, BODIES[path] | {"model": "word"} | ({"seed": 1} if path == "/v1/completions" else {}))
    strip = ("id", "created")
    assert {k: v for k, v in nameless.json().items() if k not in strip} == {
        k: v for k, v in with_name.json().items() if k not in strip
    }
    assert ask(alone, path, BODIES[path] | {"model": "char"}).status_code == 404


def test_a_second_model_ends_that(folders: dict[str, Path]) -> None:
    with serving(folders["word"]) as live:
        assert live.post("/tokenize", {"prompt": "the"}).status_code == 200
        live.context.models.add(folders["byte"])
        assert live.post("/tokenize", {"prompt": "the"}).status_code == 400
        live.context.models.remove("word")
        assert live.post("/tokenize", {"prompt": "the"}).json()["tokens"] == list(b"the")
        live.context.models.remove("byte")
        assert error(live.post("/tokenize", {"prompt": "the"}))["code"] == "model_not_found"


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("level", LEVELS)
def test_the_address_of_a_model_names_it(live: Live, path: str, level: str) -> None:
    body = BODIES[path] | ({"seed": 1} if path == "/v1/completions" else {})
    strip = ("id", "created")

    def shown(answer: httpx.Response) -> dict[str, Any]:
        assert answer.status_code == 200, answer.text
        return {key: value for key, value in answer.json().items() if key not in strip}

    expected = shown(ask(live, path, body | {"model": level}))
    for query in ({}, {"model": level}):
        method = ROUTES[OF_A_MODEL + path][0]
        address = f"/models/{level}{path}"
        addressed = live.get(address, params=query) if method == "GET" else live.post(address, body | query)
        assert shown(addressed) == expected


@pytest.mark.parametrize("path", BODIES)
def test_an_address_and_a_name_that_disagree_are_refused(live: Live, path: str) -> None:
    method = ROUTES[OF_A_MODEL + path][0]
    address, query = f"/models/char{path}", {"model": "word"}
    answer = live.get(address, params=query) if method == "GET" else live.post(address, BODIES[path] | query)
    assert answer.status_code == 400 and error(answer)["code"] == "model_mismatch"
    assert "'word'" in error(answer)["message"] and "'char'" in error(answer)["message"]
    address = f"/models/nothing{path}"
    answer = live.get(address) if method == "GET" else live.post(address, BODIES[path])
    assert answer.status_code == 404 and error(answer)["code"] == "model_not_found"


def test_a_client_at_the_address_of_a_model_sees_that_model(live: Live) -> None:
    client = live.openai(base_url=f"{live.url}/models/word/v1")
    assert [model.id for model in client.models.list()] == ["word"]
    assert client.models.retrieve("word").id == "word"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("char")
    request: dict[str, Any] = {"model": "word", "prompt": "the cat", "max_tokens": 9, "seed": 3}
    text = client.completions.create(**request).choices[0].text
    assert text == live.openai().completions.create(**request).choices[0].text
    with client.completions.create(stream=True, **request) as events:
        assert "".join(event.choices[0].text for event in events) == text
    assert live.get("/models/word/healthz").status_code == 404
    metrics = live.get("/metrics").text
    assert 'route="/models/{model}/v1/completions"' in metrics and "/models/word" not in metrics


def test_the_same_text_by_seed_from_every_model(live: Live) -> None:
    """No two of these models write the same, so an answer of another model would be seen."""
    texts = {
        level: live.post("/v1/completions", {"model": level, "prompt": "the", "seed": 5, "max_tokens": 20}).json()
        for level in LEVELS
    }
    assert len({answer["choices"][0]["text"] for answer in texts.values()}) == 4
    assert [answer["model"] for answer in texts.values()] == list(LEVELS)


# ---- lm-evaluation-harness: its requests, to the letter (0.4.13: utils.RemoteTokenizer, models.api_models.TemplateAPI)


@dataclass
class Harness:
    """What lm-eval asks with `--model local-completions --model_args base_url=...,tokenizer_backend=remote`."""

    live: Live
    base_url: str
    model: str

    @property
    def tokenizer_url(self) -> str:
        """As it makes it of `base_url`. It never sends the name of the model there."""
        return self.base_url.replace("/v1/completions", "").replace("/v1/chat/completions", "").rstrip("/")

    def info(self) -> dict[str, Any]:
        """Ask for the vocabulary; it gives up unless this is 200."""
        answer = self.live.plain.get(f"{self.tokenizer_url}/tokenizer_info")
        answer.raise_for_status()
        info: dict[str, Any] = answer.json()
        return info

    def encode(self, text: str) -> list[int]:
        """Ask for the numbers of a text."""
        payload = {"prompt": text, "add_special_tokens": False}
        answer = self.live.plain.post(f"{self.tokenizer_url}/tokenize", json=payload)
        answer.raise_for_status()
        tokens: list[int] = answer.json()["tokens"]
        return tokens

    def log_likelihoods(self, texts: tuple[str, ...]) -> list[float]:
        """Return ln P of texts without a context, as multiple_choice with an empty doc_to_text asks for them."""
        info = self.info()
        prefix = self.encode(info["bos_token"])[0] or self.encode(info["eos_token"])[0]
        rows = [[prefix, *self.encode(text)] for text in texts]
        payload = {
            "model": self.model, "prompt": rows, "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234,
            "echo": True,
        }  # fmt: skip
        answer = self.live.plain.post(self.base_url, json=payload)
        answer.raise_for_status()
        choices = sorted(answer.json()["choices"], key=lambda choice: choice["index"])
        return [math.fsum(choice["logprobs"]["token_logprobs"][1:-1]) for choice in choices]


@pytest.mark.parametrize("level", LEVELS)
def test_lm_eval_at_the_address_of_a_model_finds_our_own_figures(
    live: Live, folders: dict[str, Path], level: str
) -> None:
    harness = Harness(live, f"{live.url}/models/{level}/v1/completions", level)
    info = harness.info()
    assert info["model"] == level and info["vocab_size"] == TOKENIZERS[level].vocab_size
    ours = [-score.nats for score in score_texts(open_model(folders[level]), TEXTS)]
    assert harness.log_likelihoods(TEXTS) == pytest.approx(ours, abs=1e-4)


@pytest.mark.parametrize("level", LEVELS)
def test_lm_eval_without_the_address_is_refused_and_not_sent_another_vocabulary(live: Live, level: str) -> None:
    harness = Harness(live, f"{live.url}/v1/completions", level)
    for ask_ in (harness.info, lambda: harness.encode("the"), lambda: harness.log_likelihoods(TEXTS)):
        with pytest.raises(httpx.HTTPStatusError, match="400"):
            ask_()


def test_lm_eval_with_one_model_needs_no_address(alone: Live, folders: dict[str, Path]) -> None:
    harness = Harness(alone, f"{alone.url}/v1/completions", "word")
    ours = [-score.nats for score in score_texts(open_model(folders["word"]), TEXTS)]
    assert harness.log_likelihoods(TEXTS) == pytest.approx(ours, abs=1e-4)


def test_the_first_model_s_vocabulary_gave_figures_that_mean_nothing(
    live: Live, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault as it was, planted: without a name the first model answers. No error comes; only the figure is off."""
    real = live.context.models.choose
    monkeypatch.setattr(
        live.context.models, "choose", lambda name, addressed=None: real(name or "char", addressed)
    )  # fmt: skip
    mismatched = Harness(live, f"{live.url}/v1/completions", "byte").log_likelihoods(TEXTS)
    ours = [-score.nats for score in score_texts(open_model(folders["byte"]), TEXTS)]
    assert all(abs(one - other) > 1 for one, other in zip(mismatched, ours, strict=True))


# ---- Batches of other clients


@pytest.mark.parametrize("count", [20, 128])
def test_a_batch_as_langchain_sends_it(live: Live, count: int) -> None:
    """BaseOpenAI's `batch_size` is 20: one request with twenty prompts."""
    prompts = [f"the {'cat' if number % 2 else 'dog'} sat" for number in range(count)]
    answer = live.openai().completions.create(model="char", prompt=prompts, max_tokens=3, seed=1, temperature=0.7)
    assert [choice.index for choice in answer.choices] == list(range(count))
    assert answer.usage is not None and answer.usage.completion_tokens == 3 * count


def test_one_request_fills_no_more_slots_than_there_are(tmp_path: Path) -> None:
    with serving(make_model(tmp_path / "char"), slots=64, queue=0) as live:
        with pytest.raises(openai.RateLimitError):
            live.openai().completions.create(model="char", prompt=["a"] * 65, max_tokens=1)
        assert len(live.openai().completions.create(model="char", prompt=["a"] * 64, max_tokens=1).choices) == 64


# ---- How much is written where nothing is said
