"""Asks a model how probable texts are and what it expects next. Needs no PyTorch; run train_and_sample.py first."""

import math

import unroll

model = unroll.open_model("runs/book")  # open it once for many calls

# The probability of a text, symbol by symbol: nats are -ln P, and they add up.
warm, odd = unroll.score(model, ["It was a bright day.", "It was a bright dya."])
for score in (warm, odd):
    print(f"{score.nats:7.2f} nats  {score.text}")
print(f"The first is {math.exp(min(odd.nats - warm.nats, 700)):,.0f} times as probable.")
costly = max(odd.per_token, key=lambda token: token.nats or 0)
print(f"Most surprising in the second: {costly.token!r}, {(costly.nats or 0) / math.log(2):.1f} bits")

# What comes next, as symbols and as whole words.
for choice in unroll.next_symbols(model, "It was a br", top=5).likely:
    print(f"{choice.probability:6.1%}  {choice.token!r}")
print([choice.token for choice in unroll.next_words(model, "It was a ", top=5).likely])
