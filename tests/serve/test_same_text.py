"""A prompt and a seed write the same text in `unroll sample`, completions and the studio, which all end at `<end>`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.live import CHARS, Live, latest, make_model, serving
from unroll.data.documents import DocumentTokenizer
from unroll.data.tokenizer import Tokenizer, WordTokenizer
from unroll.data.words import UnicodeWordTokenizer
from unroll.lm.sample import sample
from unroll.serve.studio.studio import Folders

TOKEN = "secret"
LENGTH = 25
WORDS = UnicodeWordTokenizer.learn(['It was, he said - so, no.\nIt (was) "he". It - so; no\nno, he, no,\nso'])
TOKENIZERS: dict[str, Tokenizer] = {
    "words": WORDS,
    "spaces": WordTokenizer(("It", "was", "was,", "he")),
    "documents": DocumentTokenizer(WORDS, "\n"),
    "letters": DocumentTokenizer(CHARS, "\n"),
}
PROMPTS = {
    "words": ["", "It", "It was ", "It was,", "It was, ", 'he "', "It -", "so;", "It - ", "no.\n"],
    "spaces": ["It was ", "It was,", "It  "],
    "documents": ["", "It was ", "It was,", "It was, ", "no.\n", "no.\nIt was,"],
    "letters": ["", "the cat", "the cat "],
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("same")
    models = [make_model(folder / "runs" / name, tokenizer) for name, tokenizer in TOKENIZERS.items()]
    with serving(*models, studio=Folders(folder / "runs", folder), page_token=TOKEN) as served:
        yield served


def path_of(live: Live, model: str) -> Path:
    return latest(live.context.models, model).opened.path


def ours(live: Live, model: str, prompt: str, seed: int, **options: Any) -> str:
    drawn = sample(path_of(live, model), prompt, LENGTH, temperature=1.0, seed=seed, **options)
    return "".join(symbol.text for symbol in drawn)


def completed(live: Live, **fields: Any) -> dict[str, Any]:
    request = {"max_tokens": LENGTH, **fields}
    answer = live.post("/v1/completions", request, headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.text
    choice: dict[str, Any] = answer.json()["choices"][0]
    return choice


def streamed(live: Live, **fields: Any) -> tuple[str, str]:
    """Return the text of a stream, and why it ended."""
    request = {"max_tokens": LENGTH, "stream": True, **fields}
    answer = live.post("/v1/completions", request, headers={"authorization": f"Bearer {TOKEN}"})
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    choices = [event["choices"][0] for event in events]
    return "".join(choice["text"] for choice in choices), choices[-1]["finish_reason"]


def in_studio(live: Live, **fields: Any) -> list[dict[str, Any]]:
    """Return the columns that the page shows."""
    answer = live.post("/api/sample", fields, headers={"authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.text
    pieces = [line["columns"] for line in map(json.loads, answer.text.splitlines()) if "columns" in line]
    return [
        {name: [value for piece in pieces for value in piece[k][name]] for name in ("ids", "symbols", "nats")}
        | {"ended": pieces[-1][k]["ended"]}
        for k in range(len(pieces[0]))
    ]


@pytest.mark.parametrize(("model", "prompt"), [(model, prompt) for model in PROMPTS for prompt in PROMPTS[model]])
def test_sample_server_and_studio_write_the_same(live: Live, model: str, prompt: str) -> None:
    columns = in_studio(live, model=model, prompt=prompt, length=LENGTH, columns=4, seed=7)
    for stream, column in enumerate(columns):
        expected = ours(live, model, prompt, 7, stream=stream)
        shown = column["symbols"][: -1 if column["ended"] else None]
        assert "".join(shown) == expected
        assert len(column["ids"]) == len(column["symbols"]) == len(column["nats"]) <= LENGTH
    for seed in range(3):
        expected = ours(live, model, prompt, seed)
        request = {"model": model, "prompt": prompt, "seed": seed}
        answer = completed(live, **request)
        assert answer["text"] == expected
        assert (expected, answer["finish_reason"]) == streamed(live, **request)
        assert completed(live, echo=True, **request)["text"] == prompt + expected or model == "spaces"


@pytest.mark.parametrize("model", ["words", "documents"])
def test_what_is_measured_is_the_text_as_it_was_sent(live: Live, model: str) -> None:
    """With its probabilities, and where nothing is written: the comma is the one that was sent."""
    tokenizer = TOKENIZERS[model]
    for prompt in ("It was,", "It was, ", "It was "):
        sent = tokenizer.encode(prompt).tolist()
        headers = {"authorization": f"Bearer {TOKEN}"}
        answer = live.post("/tokenize", {"model": model, "prompt": prompt}, headers=headers)
        assert answer.json()["tokens"] == sent
        as_ids = completed(live, model=model, prompt=sent, echo=True, logprobs=0, max_tokens=0)["logprobs"]
        for length in (0, 1):
            as_text = completed(live, model=model, prompt=prompt, echo=True, logprobs=0, max_tokens=length)
            logprobs = as_text["logprobs"]
            assert logprobs["token_logprobs"][: len(sent)] == as_ids["token_logprobs"]
            assert "".join(logprobs["tokens"]) == as_text["text"]
            assert "".join(logprobs["tokens"][: len(sent)]) == prompt
            assert logprobs["text_offset"][len(sent) :] in ([len(prompt)] * length, [])  # or `<end>` at once


@pytest.mark.parametrize("model", ["documents", "letters"])
def test_a_document_ends_a_text(live: Live, model: str) -> None:
    """At `<end>`, which is not shown: whole and streamed, with stops and probabilities, from a prompt read before."""
    tokenizer, reasons = TOKENIZERS[model], set()
    for seed in range(20):
        request = {"model": model, "seed": seed, "prompt": "It was"[: 6 if model == "documents" else 0]}
        first = completed(live, logprobs=2, **request)
        reasons.add(first["finish_reason"])
        drawn = list(sample(path_of(live, model), request["prompt"], LENGTH, temperature=1.0, seed=seed))  # type: ignore[arg-type]
        ended = drawn[-1].id == tokenizer.end_id
        assert first["finish_reason"] == ("stop" if ended else "length")
        assert len(first["logprobs"]["tokens"]) == len(drawn) - ended
        assert "<end>" not in first["text"]
        assert completed(live, **request)["text"] == first["text"] == streamed(live, **request)[0]
        middle = first["text"][len(first["text"]) // 2 :][:2] or "no"
        stopped = completed(live, stop=[middle, "never written"], **request)
        assert stopped["text"] == first["text"].partition(middle)[0]
        assert stopped["text"] == ours(live, model, request["prompt"], seed, stop=middle)  # type: ignore[arg-type]
        assert streamed(live, stop=[middle, "never written"], **request)[0] == stopped["text"]
    assert reasons == {"stop", "length"}


@pytest.mark.parametrize("model", ["words", "documents", "letters"])
def test_a_text_goes_on_from_its_state(live: Live, model: str) -> None:
    """A space is written once, also where a part ends with a mark; the state of an ended document has not read it."""
    options = {"model": model, "temperature": 0, "return_state": True}
    for length in range(1, 5):
        for prompt in PROMPTS[model]:
            part = completed(live, prompt=prompt, max_tokens=length, **options)
            more = completed(live, prompt="", state_from=part["state"], max_tokens=9, **options)
            whole = completed(live, prompt=prompt, max_tokens=length + 9, **options)
            assert part["finish_reason"] == "stop" or part["text"] + more["text"] == whole["text"]


def test_a_column_that_has_ended_leaves_the_others_alone(live: Live) -> None:
    columns = in_studio(live, model="documents", prompt="It", length=60, columns=8, seed=3)
    assert {column["ended"] for column in columns} == {True, False} or len({len(c["ids"]) for c in columns}) > 2
    for column in columns:
        end = TOKENIZERS["documents"].end_id
        assert column["ended"] == (column["ids"][-1] == end) and column["ids"].count(end) == column["ended"]
        assert not column["ended"] or column["symbols"][-1] == "<end>"


def test_a_branch_and_what_is_put_in_have_their_spaces(live: Live) -> None:
    """What the page puts in for a possible symbol is what the model reads as that symbol."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    for prompt in ("It", "It ", "It,", "It, ", "It - "):
        request: dict[str, Any] = {"model": "words", "prompt": prompt, "ids": []}
        following = live.post("/api/next", request, headers=headers).json()
        typed = live.post("/api/read", {"model": "words", "text": prompt}, headers=headers).json()
        assert typed["names"] == [WORDS.pieces[id].decode() for id in WORDS.encode(prompt)]
        written = dict(zip(following["ids"], following["written"], strict=True))
        he, newline = WORDS.encode("he")[0], WORDS.newline_id
        assert written[he] == (" he" if prompt in ("It", "It,") else "he"), prompt
        assert WORDS.encode(prompt + written[he])[-1] == he
        assert written[newline].endswith("\n")
    comma, he = WORDS.encode("It, he").tolist()[1:]
    columns = in_studio(live, model="words", prompt="It", ids=[comma], length=40, columns=8, seed=1)
    assert not any(column["symbols"][0].startswith(" ") and column["ids"][0] == he for column in columns)
