"""Trains a model on a text and lets it write: `python train_and_sample.py book.txt`. The others read this model."""

import sys

import unroll

text, steps = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 2000

# A training is a generator of reports. Stop at any of them: what is saved can be resumed with unroll.resume.
for report in unroll.train(text, out="runs/book", steps=steps, seed=1):
    print(report)

# The samples taken on the way show the model grow from noise to words.
for sample in unroll.evolution("runs/book"):
    print(f"── step {sample['step']}: {sample['nats']:.2f} nats per symbol\n{sample['prompt']}{sample['text']}")

# Symbols come one by one, as they are drawn, each with what it cost. The same seed gives the same text.
for symbol in unroll.sample("runs/book", prompt="It was", length=200, temperature=0.7, seed=7):
    print(symbol.text, end="", flush=True)
print()
