# %% [markdown]
# # 6 · Watch it grow: from noise to words to style
#
# A character model begins with noise. A few hundred steps later it writes words, then lines that
# look right from afar, and in the end something with a style (Karpathy 2015). In this session you
# train one, watch it, and put numbers on what you see:
#
# 1. the samples it writes at steps 0, 100, 300, 500, 700, 1200 and 2000,
# 2. what of the text they have already: its words, its pairs of words, its punctuation and
#    capitals, brackets and quotes that close,
# 3. what the **temperature** does, and
# 4. how much of a sample is **copied**.
#
# The text is what every Python brings along: modules of its standard library.

# %% tags=["setup"]
from importlib.util import find_spec

missing = [name for name in ("matplotlib", "numpy", "torch", "unroll") if find_spec(name) is None]
assert not missing, (
    f"{', '.join(missing)} is missing: pip install '.[lessons]' in a clone of unroll"
)

import re
import sysconfig
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import unroll

plt.rcParams |= {"figure.dpi": 72, "axes.spines.top": False, "axes.spines.right": False}
plt.rcParams |= {"figure.constrained_layout.use": True, "font.size": 9}
BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#555555"
COLOURS = (BLUE, ORANGE, GREEN, PINK, "#E69F00", "#56B4E9", "#000000", GREY)


def words(text):
    """Return the words of a text that have three letters or more."""
    return re.findall(r"[^\W\d_]{3,}", text)


# %% [markdown]
# ## 1. Training, with samples on the way
#
# Some modules train, two others are held back. `train` takes a sample at each of the steps above,
# from the same seed, and keeps them beside the model.

# %%
stdlib = Path(sysconfig.get_path("stdlib"))
HELD_BACK = {"textwrap.py", "shlex.py"}
modules, size = [], 0
for module in sorted(stdlib.glob("[a-i]*.py")):
    if module.name not in HELD_BACK and size < 700_000:
        modules.append(module)
        size += module.stat().st_size
training_text = "".join(module.read_text(errors="replace") for module in modules)
held_back = "".join((stdlib / name).read_text() for name in sorted(HELD_BACK))

MODEL = "runs/growth"
settings = {
    "hidden_size": 96,
    "embedding_size": 32,
    "batch_size": 12,
    "seq_len": 48,
    "dropout": 0.0,
    "valid_every": 250,
    "valid_tokens": 5000,
    "final_tokens": 10000,
    "sample_length": 1500,
    "threads": 1,
}
reports = list(
    unroll.train(
        modules, steps=2000, settings=settings, seed=0, device="cpu", out=MODEL, force=True
    )
)

# %% [markdown]
# What it wrote on the way. Look for the first word, the first indent, the first `def`.

# %% tags=["varies"]
for sample in unroll.evolution(MODEL):
    print(f"--- step {sample['step']:,}, {sample['nats'] / np.log(2):.2f} bits per character")
    print(sample["text"].lstrip()[:240], "\n")

# %% [markdown]
# ## 2. Numbers for it
#
# How much of the language is there? The simplest measure: the share of a sample's words that the
# training text has, too.

# %%
vocabulary = set(words(training_text))


def known_words(text):
    """Return the share of the words of a text that the training text has."""
    return np.mean([word in vocabulary for word in words(text)] or [np.nan])


for sample in unroll.evolution(MODEL)[:4]:
    print(f"step {sample['step']:5,}: {known_words(sample['text']):.0%} of its words are known")
print(f"modules held back: {known_words(held_back):.0%}")

# %% [markdown]
# Even real text of the same kind has words that the training text has not. So the figure of the
# held-back modules is the **ceiling**: there is no point in being above it. (A model that copies
# is.)
#
# Words alone do not make sentences. The next measure asks for pairs.
#
# **Exercise 6.1.** Return the share of neighbouring pairs of words of `text` that are neighbours
# somewhere in `training`, too. `words(text)` gives the words in order.


# %% tags=["exercise", "raises-exception"]
# Exercise 6.1: known pairs of words
def known_pairs(text, training):
    """Return the share of the pairs of neighbouring words of a text that the training text has."""
    raise NotImplementedError("Exercise 6.1: write known_pairs")


known_pairs("return the value", "close the value")

# %% tags=["check", "raises-exception"]
small = "return the value and close the file"
share = known_pairs("close the file and close the value", small)
assert np.isclose(share, 5 / 6), f"of six pairs only “file and” is new: 5 of 6, not {share:.2f}"
assert known_pairs("value the", small) == 0, (
    "both words are known, but never in this order: a pair is known only as a pair"
)
assert np.isclose(known_pairs("the value the value the file", small), 3 / 5), (
    "a pair counts as often as it stands in the text: 3 of 5"
)
print("Right: pairs, in order, as often as they stand there")

# %% [markdown]
# `unroll.style` (on the command line `unroll evolution`) has these two and more for every sample:
# how far **punctuation** and **capitals** are as frequent as in the text, by what they stand
# between, and the share of brackets and quotes that close (**closing**), beyond those that would by
# chance. The ceiling of each is its mean over pieces of held-out text as long as a sample.

# %%
style = unroll.style(MODEL)
steps = [sample["step"] for sample in style.samples]
trained = [r for r in reports if getattr(r, "kind", "") == "valid"]
figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5.4), height_ratios=[1, 1.8], sharex=True)
above.plot([r.step for r in trained], [r.nats / np.log(2) for r in trained], color="black")
above.set_ylabel("bits per character")
above.set_title("The loss falls fast, then slowly …", loc="left")
for (name, ceiling), colour in zip(style.ceiling.items(), COLOURS, strict=False):
    values = [sample["measures"][name] for sample in style.samples]
    values = [np.nan if value is None else 100 * value for value in values]
    below.plot(steps, values, color=colour, marker="o", ms=4, label=name)
    if ceiling is not None:
        below.axhline(100 * ceiling, color=colour, ls=":", lw=1)
below.set_xlabel("steps")
below.set_ylabel("%")
below.set_ylim(-3, 104)
below.set_title("… and each thing is learnt at its own time (dotted: the text itself)", loc="left")
below.legend(frameon=False, ncols=6, loc="lower right")
plt.show()

# %% [markdown]
# A sample is short, so the curves jump; a larger `sample_length` makes them smoother. As a rule,
# what can be seen in a character or two comes first, such as where marks and capitals stand. Words
# follow, then pairs of words. What needs memory over a distance, a bracket or a quote that closes,
# is the hardest, and a network as small as this one does not get far with it. Where a sample has
# too few marks to say anything, the measure says nothing: a gap, not a zero.
#
# ## 3. Temperature
#
# A sample is drawn from $p_k \propto \exp(z_k / T)$, where $z$ are the logits. The **temperature**
# $T$ sharpens the distribution below 1 and flattens it above.
#
# **Exercise 6.2.** Write it. Mind large logits, and let $T = 0$ take the most probable symbol.


# %% tags=["exercise", "raises-exception"]
# Exercise 6.2: a softmax with temperature
def probabilities(logits, temperature):
    """Return the softmax (V,) of logits (V,) / T; at T = 0 all on the largest."""
    raise NotImplementedError("Exercise 6.2: write probabilities")


probabilities(np.array([2.0, 1.0, 0.0]), 1.0)

# %% tags=["check", "raises-exception"]
logits = np.array([2.0, 1.0, 0.0])
for t in (0.5, 1.0, 2.0):
    p = np.asarray(probabilities(logits, t))
    assert np.isclose(p.sum(), 1), f"probabilities sum to 1, at T = {t} not to {p.sum():.3f}"
    assert np.isclose(p[0] / p[1], np.exp(1 / t)), (
        f"at T = {t} logits that differ by 1 make probabilities that differ by a factor of "
        f"exp(1/T) = {np.exp(1 / t):.2f}, not {p[0] / p[1]:.2f}: divide the logits by T"
    )
assert np.allclose(probabilities(logits, 0), [1, 0, 0]), "at T = 0 the largest has it all"
assert np.isfinite(probabilities(logits * 1000, 0.5)).all(), (
    "exp overflows: subtract the largest first"
)
print("Right: sharper below 1, flatter above")

# %% [markdown]
# What it does to one choice: the distribution after `self.`, at four temperatures.

# %%
likely = unroll.next_symbols(MODEL, "\n        self.", top=500).likely
names, p = [item.token for item in likely], np.array([item.probability for item in likely])
figure, axes = plt.subplots(figsize=(9, 2.6))
temperatures = (0.3, 0.7, 1.0, 1.5)
for k, t in enumerate(temperatures):
    q = p ** (1 / t) / np.sum(p ** (1 / t))
    axes.bar(np.arange(18) + 0.2 * (k - 1.5), q[:18], 0.2, color=COLOURS[k], label=f"T = {t}")
axes.set_xticks(range(18), names[:18])
axes.set_ylabel("probability")
axes.set_title("The next character after “self.”", loc="left")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# And to whole samples: known words, against how little the sample repeats itself, here the share of
# its runs of ten characters that it has not had before.

# %% tags=["varies"] alt="By temperature: words that exist, and runs that are new"
known, fresh = [], []
grid = (0.1, 0.3, 0.5, 0.8, 1.0, 1.3, 1.6)
for t in grid:
    symbols = unroll.sample(MODEL, "\ndef ", 1200, temperature=t, seed=1)
    text = "".join(symbol.text for symbol in symbols)
    known.append(100 * known_words(text))
    runs = [text[k : k + 10] for k in range(len(text) - 9)]
    fresh.append(100 * len(set(runs)) / len(runs))
    if t in (0.1, 0.8, 1.6):
        print(f"--- T = {t}\ndef {text[:200]}\n")
figure, axes = plt.subplots(figsize=(8, 2.8))
axes.plot(grid, known, color=BLUE, marker="o", label="words that the training text has")
axes.plot(
    grid, fresh, color=ORANGE, marker="s", label="runs of 10 characters that are new in the sample"
)
axes.axhline(100 * known_words(held_back), color=BLUE, ls=":", lw=1)
axes.set_xlabel("temperature")
axes.set_ylabel("%")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# Cold samples are correct and dull, hot ones inventive and wrong. Somewhere below 1 lies what reads
# best: a network puts a little probability on many wrong symbols, and a temperature of 0.8 takes
# most of that away.
#
# ## 4. What it copies
#
# Does it write, or quote? For each character of a sample, how long is the longest run ending there
# that stands in the training text word for word? The run grows by one, or it breaks.


# %%
def run_lengths(sample, training):
    """Return for each character the length of the longest run that ends there and was copied."""
    lengths, start = [], 0
    for end in range(1, len(sample) + 1):
        while sample[start:end] not in training:
            start += 1
        lengths.append(end - start)
    return np.array(lengths)


from html import escape

from IPython.display import HTML, display

COPIED = 20
symbols = unroll.sample(MODEL, "\ndef ", 700, temperature=0.8, seed=3)
sample = "".join(symbol.text for symbol in symbols)
lengths = run_lengths(sample, training_text)
copied = np.zeros(len(sample), bool)
for end in np.flatnonzero(lengths >= COPIED):
    copied[end + 1 - lengths[end] : end + 1] = True
pieces = [
    f'<mark style="background:#f6c9a5">{escape(c)}</mark>' if is_copied else escape(c)
    for c, is_copied in zip(sample, copied, strict=True)
]
layout = "font-family:monospace;white-space:pre-wrap;background:white;color:black"
display(HTML(f'<div style="{layout}">{"".join(pieces)}</div>'))

# %% tags=["varies"]
longest = int(lengths.argmax())
print(f"marked: runs of {COPIED} characters or more that stand in the training text,")
print(f"{copied.mean():.0%} of the sample; the longest has {lengths.max()} characters:")
print(repr(sample[longest + 1 - lengths.max() : longest + 1]))

# %% [markdown]
# Is that much? Two comparisons: real text of the same kind that the model has not seen, since
# programs repeat each other, too; and a model that can do nothing but piece together what it has
# read, an n-gram of order 10 (session 1).
#
# **Exercise 6.3.** Return the share of the n-grams of characters of a sample, all `len - n + 1` of
# them, that do **not** stand in the training text (McCoy et al. 2023 call it novelty).


# %% tags=["exercise", "raises-exception"]
# Exercise 6.3: novelty
def novelty(sample, training, n):
    """Return the share of the sample's n-grams of characters that the training text has not."""
    raise NotImplementedError("Exercise 6.3: write novelty")


novelty("abcd", "abc", 2)

# %% tags=["check", "raises-exception"]
assert np.isclose(novelty("abcab", "xabcx", 2), 1 / 4), (
    "the pairs are ab, bc, ca, ab, and only ca is new: 1 of 4, "
    f"not {novelty('abcab', 'xabcx', 2):.2f}"
)
assert novelty("abc", "abc", 3) == 0, "all of it is copied: no novelty"
assert novelty("xyz", "abc", 1) == 1, "nothing of it is copied: all is new"
assert np.isclose(novelty("aabb", "aabxabb", 3), 0), "n-grams overlap: aab and abb both stand there"
assert np.isclose(novelty("abcdef", "bcd", 2), 3 / 5), "ab, de and ef are new: 3 of 5"
print("Right: overlapping n-grams, the new ones")

# %% alt="The share of n-grams that are new, by n: two samples, an n-gram model, held-out text"
for _ in unroll.ngram(modules, order=10, out="runs/10gram", force=True):
    pass
texts = {
    "the network, T = 1": "".join(
        s.text for s in unroll.sample(MODEL, "\n", 2000, temperature=1, seed=5)
    ),
    "the network, T = 0.8": "".join(s.text for s in unroll.sample(MODEL, "\n", 2000, seed=5)),
    "an n-gram of order 10": "".join(
        s.text for s in unroll.sample("runs/10gram", "\n", 2000, temperature=1, seed=5)
    ),
    "modules held back": held_back[3000:5000],
}
figure, axes = plt.subplots(figsize=(8.5, 3))
orders = np.arange(1, 41)
for (name, text), colour in zip(texts.items(), (BLUE, "#56B4E9", ORANGE, "black"), strict=True):
    lengths = run_lengths(text, training_text)
    # An n-gram that ends at a character is copied if the run that ends there has n characters.
    new = [np.mean(lengths[n - 1 :] < n) for n in orders]
    axes.plot(orders, [100 * share for share in new], color=colour, label=name)
axes.set_xlabel("n")
axes.set_ylabel("% of n-grams that are new")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# The n-gram follows its text in long runs, until chance leads it elsewhere. The network writes
# about as many new n-grams as the library's own authors do: it has learnt how the text goes on, not
# the text. That changes when a network is large, the text small and the training long. So measure
# it: `unroll sample --copied` reports the longest copied run of every sample.
#
# ## What you have seen
#
# * Noise, marks, words, pairs, closing brackets: in this order, and each measurable.
# * A measure needs its ceiling, the value of real text that was not learnt.
# * Temperature trades errors for repetition.
# * Copying can be seen and counted; real text is the yardstick.
#
# On the command line: `unroll train`, `unroll evolution --plot growth.svg`, `unroll sample`.
#
# ## Sources
#
# * A. Karpathy: The unreasonable effectiveness of recurrent neural networks. 2015.
# * R. T. McCoy et al.: How much do language models copy from their training data? *TACL* 11, 2023.
# * A. Holtzman et al.: The curious case of neural text degeneration. ICLR 2020.
