"""Reads a text of any length in constant memory, without PyTorch. Run train_and_sample.py first."""

import sys

import numpy as np

import unroll

model = unroll.open_model("runs/book", precision="int8")  # the CPU engine, with weights of eight bits
predictor, tokenizer = model.predictor, model.tokenizer

nats, count, state, before = 0.0, 0, None, tokenizer.start_id
with open(sys.argv[1], encoding="utf-8") as file:
    while piece := file.read(10_000):
        ids = tokenizer.encode(piece)
        inputs = np.concatenate([[before], ids[:-1]])[None]  # (1, T): each symbol is predicted from those before it
        cost, state = predictor.nats(inputs, ids[None], state)  # -ln P of each symbol, and the state after them
        nats, count, before = nats + float(cost.sum()), count + len(ids), int(ids[-1])
print(f"{nats / count:.3f} nats per symbol in {count:,} symbols")

logits, state = predictor.logits(np.array([[before]]), state)  # and what would come next
print(f"Most probable next: {tokenizer.symbol(int(logits[0].argmax()))!r}")
assert "torch" not in sys.modules
