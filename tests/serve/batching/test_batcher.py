"""The batch: streams that come and go at any time, and what each writes, which none of that changes."""

import asyncio
import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest

from serve.batching.streaming import Eventually, batcher_of, open_stream
from serve.live import CHARS, Live, latest, resident, run_apart, serving
from unroll.artifact.ngram import write_ngram
from unroll.artifact.open import open_model
from unroll.engine.native import default_instructions
from unroll.lm.sample import sample
from unroll.predict.predictor import Predictor, Window
from unroll.serve.batching.batcher import Batcher
from unroll.serve.batching.streams import CHUNK, Options, Prompt, Row, Sink
from unroll.serve.metrics import Metrics
from unroll.serve.models import Models
from unroll.serve.settings import Settings
from unroll.state import State


def test_streams_that_come_and_go_change_nothing(folder: Path) -> None:
    """Rows of many kinds join and leave a batch at random, some are cancelled: each ends as it does alone."""
    served = latest(Models([folder]), "char")
    draw = random.Random(0)

    def asked(number: int) -> tuple[np.ndarray, Options]:
        size = draw.choice([0, 1, 5, CHUNK - 1, CHUNK, CHUNK + 7, 3 * CHUNK])
        ids = np.array([CHARS.start_id, *(draw.randrange(1, CHARS.vocab_size) for _ in range(size))])
        return ids, Options(
            length=draw.randint(1, 120), temperature=draw.choice([0, 0.5, 1.0]), top_k=draw.choice([0, 3]), seed=number,
            top_p=draw.choice([1.0, 0.8]), stops=draw.choice([(), ("ab", "e")]), top=draw.choice([None, None, 0, 3]),
            presence_penalty=draw.choice([0, 0, 1.0]), streaming=draw.random() < 0.5,
        )  # fmt: skip

    requests = [asked(number) for number in range(80)]

    async def write(batcher: Batcher, number: int, *, leave: bool = False) -> tuple[str, list[int], list[float]]:
        ids, options = requests[number]
        sink = Sink()
        row = Row(sink, 0, 0, options)
        batcher.submit([Prompt(ids, [row])])
        if leave:
            await asyncio.sleep(draw.random() * 0.01)
            row.cancelled = True
            batcher.wake()
            return "", [], []
        text = ""
        while True:
            part = await sink.get()
            assert part is not None and part.error is None
            text += "".join(part.pieces)
            row.taken += len(part.pieces)
            if part.finish:
                return text, row.ids, row.nats

    async def main() -> None:
        single = []
        for number in range(len(requests)):
            batcher = Batcher(served, Settings(prefix_bytes=0), Metrics())
            single.append(await write(batcher, number))
            batcher.close()
        batcher = Batcher(served, Settings(slots=20), Metrics())
        for _ in range(2):  # the second time prompts are known

            async def later(number: int) -> tuple[str, list[int], list[float]]:
                await asyncio.sleep(draw.random() * 0.2)
                return await write(batcher, number)

            async def nuisance(number: int) -> None:
                await asyncio.sleep(draw.random() * 0.2)
                await write(batcher, number, leave=True)

            concurrent = await asyncio.gather(
                *(later(number) for number in range(len(requests))), *(nuisance(number) for number in range(40))
            )
            for answer, expected in zip(concurrent, single, strict=False):
                assert answer is not None
                text, ids, nats = answer
                assert (text, ids) == expected[:2]
                # The kernels compute a row the same bit for bit, whoever is beside it; numpy's products do not.
                exact = default_instructions() is not None
                assert nats == (expected[2] if exact else pytest.approx(expected[2], abs=1e-5))
        batcher.close()
        assert await asyncio.to_thread(batcher.join, 5) and sum(batcher.load) == 0

    run_apart(main())


def test_an_ngram_and_a_gpu_model_are_batched_too(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat. the dog sat on the log.\n" * 30)
    for _ in write_ngram([text], tmp_path / "gram", 4, {"level": "char"}):
        pass
    opened = open_model(tmp_path / "gram")
    with serving(tmp_path / "gram") as live:
        answer = live.openai().completions.create(model="gram", prompt="the", max_tokens=40, seed=3, n=5, logprobs=2)
        for stream, choice in enumerate(answer.choices):
            symbols = sample(opened, "the", length=40, seed=3, stream=stream, temperature=1.0)
            assert choice.text == "".join(symbol.text for symbol in symbols)
        scores = live.openai().completions.create(model="gram", prompt="the cat", max_tokens=0, echo=True, logprobs=0)
        ids = opened.tokenizer.encode("the cat")
        nats = opened.predictor.nats(np.array([[opened.tokenizer.start_id, *ids[:-1]]]), ids[None])[0][0]
        values = scores.choices[0].logprobs.token_logprobs  # type: ignore[union-attr]
        assert values is not None and values[1:] == pytest.approx((-nats[1:]).tolist())
        with pytest.raises(openai.BadRequestError, match="no hidden state"):
            live.openai().embeddings.create(model="gram", input="a")


def test_torch_models_are_batched_by_the_same_loop(folder: Path) -> None:
    """What a GPU runs: the predictor of torch, here on the CPU."""
    from dataclasses import replace

    from unroll.artifact.open import load
    from unroll.predict.torch import TorchPredictor

    with serving(folder) as live:
        entry = live.context.models._entries["char"]
        ours = live.openai().completions.create(model="char", prompt="the cat", max_tokens=60, seed=1, n=4)
        torch_model = TorchPredictor(load(folder).model)
        served = latest(live.context.models, "char")
        opened = replace(served.opened, predictor=torch_model)
        entry.served = replace(served, opened=opened, version="torch")
        theirs = live.openai().completions.create(model="char", prompt="the cat", max_tokens=60, seed=1, n=4)
        assert [choice.text for choice in theirs.choices] == [choice.text for choice in ours.choices]
        assert batcher_of(live).served.predictor is torch_model


def test_a_closed_connection_frees_its_slot(live: Live, eventually: Eventually) -> None:
    batcher = batcher_of(live)
    connections = [open_stream(live, seed=number) for number in range(60)]
    eventually(lambda: batcher.load[0] + batcher.load[1] == 60)
    for connection in connections:
        connection.close()
    eventually(lambda: batcher.load == (0, 0, 0))
    assert live.context.metrics.disconnects._value.get() == 60
    # So is one that waits for the whole answer, one that waits for a slot, and one whose prompt is being read.
    waiting = [open_stream(live, stream=False, prompt="the cat" * 3000) for _ in range(80)]
    eventually(lambda: sum(batcher.load) == 80)
    for connection in waiting:
        connection.close()
    eventually(lambda: batcher.load == (0, 0, 0))
    assert live.openai().completions.create(model="char", prompt="a", max_tokens=5).choices[0].finish_reason == "length"


def test_a_slow_reader_is_parked_then_cut_and_nobody_else_waits(live: Live, eventually: Eventually) -> None:
    batcher = batcher_of(live)
    slow = [open_stream(live, seed=number) for number in range(10)]
    try:
        eventually(lambda: batcher.load[1] == 10)
        for connection in slow:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        start = time.monotonic()
        answer = live.openai().completions.create(model="char", prompt="a", max_tokens=2000, seed=1)
        assert answer.choices[0].finish_reason == "length" and time.monotonic() - start < 20
        eventually(lambda: batcher.load == (0, 0, 0))
        for connection in slow:  # what was sent before is there; then nothing
            with pytest.raises((ConnectionResetError, EOFError)):
                while True:
                    if not connection.recv(65536):
                        raise EOFError
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.skipif(default_instructions() is None, reason="numpy writes too slowly to fill a connection in time")
def test_a_parked_stream_goes_on_where_it_was(live: Live, eventually: Eventually) -> None:
    batcher = batcher_of(live)
    length = 200_000
    expected = live.openai().completions.create(model="char", prompt="a", max_tokens=length, seed=8).choices[0].text
    connection = open_stream(live, prompt="a", max_tokens=length, seed=8)
    eventually(lambda: batcher.load[1] == 1)
    data = b""
    while not data.endswith(b"0\r\n\r\n"):
        data += connection.recv(65536)
    connection.close()
    text, body = "", b""
    rest = data.split(b"\r\n\r\n", 1)[1]
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
    for line in body.decode().split("\n\n"):
        if line.startswith("data: {"):
            text += json.loads(line[6:])["choices"][0]["text"]
    assert text == expected


def test_more_texts_than_slots_take_turns(folder: Path) -> None:
    with serving(folder, slots=3, queue=100) as live:
        answer = live.openai().completions.create(model="char", prompt=["a", "the"], n=16, max_tokens=20, seed=1)
        assert len({choice.text for choice in answer.choices}) > 16
    with serving(folder) as live:
        wide = live.openai().completions.create(model="char", prompt=["a", "the"], n=16, max_tokens=20, seed=1)
    assert [choice.text for choice in wide.choices] == [choice.text for choice in answer.choices]


def test_memory_and_slots_are_flat(live: Live, eventually: Eventually) -> None:
    batcher = batcher_of(live)

    def round_(number: int) -> None:
        connections = [open_stream(live, seed=number + k, prompt="a" * (number % 7)) for k in range(8)]
        for seed in range(5):
            live.openai().completions.create(model="char", prompt=f"the cat {'s' * seed}", max_tokens=30, logprobs=2)
        for connection in connections:
            connection.close()
        eventually(lambda: batcher.load == (0, 0, 0))

    for number in range(3):
        round_(number)
    before = resident()
    for number in range(8):
        round_(number)
    assert resident() - before < 8e6
    assert not batcher._parked and not batcher._ready and not batcher._reader.prompts
    assert threading.active_count() < 20


def test_a_failure_in_the_model_ends_what_runs_and_nothing_else(folder: Path) -> None:
    class Fails:
        """A predictor that fails now and then."""

        def __init__(self, inner: Predictor) -> None:
            self.inner, self.calls = inner, 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

        def logits(self, inputs: Window, state: State | None = None) -> Any:
            self.calls += 1
            if self.calls == 2:
                raise MemoryError("planted")
            return self.inner.logits(inputs, state)

    with serving(folder, prefix_bytes=0) as live:
        batcher = batcher_of(live)
        batcher._reader._predictor = Fails(batcher.served.predictor)
        client = live.openai()
        text = client.completions.create(model="char", prompt="a", seed=1).choices[0].text
        with pytest.raises(openai.InternalServerError):
            client.completions.create(model="char", prompt="a", seed=1)
        assert client.completions.create(model="char", prompt="a", seed=1).choices[0].text == text
        assert sum(batcher.load) == 0
