# %% [markdown]
# # 2 · A fixed window
#
# A table of counts treats *tractor* and *truck* as strangers. Bengio, Ducharme, Vincent and Jauvin
# (2003) gave every word a **vector** instead, learnt together with a network that predicts the next
# word from the vectors of the last $n$. Similar words get similar vectors, and what is learnt
# about one serves the others.
#
# In this session you build that network in a few lines, see it answer where counts had to guess,
# and then find its limit: it is blind beyond its window, and no window is large enough.

# %% tags=["setup"]
from importlib.util import find_spec

missing = [name for name in ("matplotlib", "numpy", "torch", "unroll") if find_spec(name) is None]
assert not missing, (
    f"{', '.join(missing)} is missing: pip install '.[lessons]' in a clone of unroll"
)

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import unroll

plt.style.use("tableau-colorblind10")
plt.rcParams |= {"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False}

# %% [markdown]
# ## 1. Sentences that were never seen
#
# The language is the one that ended session 1. Machines need *fuel* and living things need *food*;
# sixteen nouns and sixteen adjectives make 256 sentences, and the network learns from half of them.

# %%
MACHINES = "car truck bus tractor train ship plane boat".split()
ANIMALS = "cat dog horse cow bird fish mouse goat".split()
ADJECTIVES = (
    "red blue old new big small quick slow heavy light clean strong quiet loud odd wet".split()
)
WORDS = ["<s>", "</s>", *MACHINES, *ANIMALS, *ADJECTIVES, *"the is and needs fuel food".split()]
ids_of = {word: number for number, word in enumerate(WORDS)}


def need(noun):
    """Return what a noun needs."""
    return "fuel" if noun in MACHINES else "food"


pairs = [(noun, adjective) for noun in MACHINES + ANIMALS for adjective in ADJECTIVES]
shuffled = [pairs[k] for k in np.random.default_rng(3).permutation(len(pairs))]
seen, unseen = shuffled[:128], shuffled[128:]
sentences = [f"the {noun} is {adjective} and needs {need(noun)} </s>" for noun, adjective in seen]
print(*sentences[:4], sep="\n")

# %% [markdown]
# A training example is a window of $n = 5$ words and the word that follows; before the sentence
# there is `<s>`.

# %%
N = 5
contexts, targets = [], []
for text in sentences:
    ids = [ids_of["<s>"]] * N + [ids_of[word] for word in text.split()]
    for t in range(N, len(ids)):
        contexts.append(ids[t - N : t])
        targets.append(ids[t])
contexts, targets = torch.tensor(contexts), torch.tensor(targets)
for context, target in list(zip(contexts, targets, strict=True))[:7]:
    print(f"{' '.join(WORDS[k] for k in context):>36} → {WORDS[target]}")

# %% [markdown]
# ## 2. The network
#
# Each word $w$ has a vector $C(w)$. The vectors of the window, side by side, are the input $x$ of a
# hidden layer, whose output gives a score for every word of the vocabulary (Bengio et al. 2003,
# equation 1, without the direct connections):
#
# $$x = \big(C(w_{t-n}), \dots, C(w_{t-1})\big), \qquad
#   y = U \tanh(H x + d) + b, \qquad
#   P(w_t \mid \text{window}) = \operatorname{softmax}(y)$$

# %%
EMBEDDING, HIDDEN = 6, 24
torch.manual_seed(2)
C = torch.randn(len(WORDS), EMBEDDING) / 3
H = torch.randn(N * EMBEDDING, HIDDEN) / (N * EMBEDDING) ** 0.5
d = torch.zeros(HIDDEN)
U = torch.randn(HIDDEN, len(WORDS)) / HIDDEN**0.5
b = torch.zeros(len(WORDS))
weights = [C, H, d, U, b]
for weight in weights:
    weight.requires_grad_()


def scores(contexts):
    """Return the scores y (B, V) of the words after windows of ids (B, N)."""
    x = C[contexts].flatten(1)  # (B, N · EMBEDDING): the vectors side by side, so order counts
    return torch.tanh(x @ H + d) @ U + b


# %% [markdown]
# It is trained by the mean surprisal of the next word, the **cross-entropy**, with gradients from
# automatic differentiation and a slight decay of the weights.

# %%
optimizer = torch.optim.AdamW(weights, lr=0.01, weight_decay=0.05)
losses = []
for _ in range(600):
    loss = torch.nn.functional.cross_entropy(scores(contexts), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())

figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
axes.plot(losses)
axes.set(xlabel="step", ylabel="nats a word", ylim=(0, None), title="The loss while training")
plt.show()
print(f"from {losses[0]:.2f} nats, ln {len(WORDS)} = {np.log(len(WORDS)):.2f}, to {losses[-1]:.2f}")

# %% [markdown]
# Now the question that the 6-gram of session 1 could not answer, with the same 128 sentences: what
# do machines and living things need in sentences that it has not seen?


# %%
def ask(questions):
    """Return P(what it needs) for pairs of noun and adjective, fuel against food."""
    windows = [[ids_of[word] for word in (noun, "is", a, "and", "needs")] for noun, a in questions]
    with torch.no_grad():
        p = torch.softmax(scores(torch.tensor(windows)), dim=1)
    return [p[row, ids_of[need(noun)]].item() for row, (noun, _) in enumerate(questions)]


runs = Path("runs")
runs.mkdir(exist_ok=True)
(runs / "needs.txt").write_text("\n".join(text.removesuffix(" </s>") for text in sentences) + "\n")
for _ in unroll.ngram(runs / "needs.txt", order=6, level="word", out=runs / "needs", force=True):
    pass
by_counts = []
for noun, adjective in unseen:
    after = unroll.next_symbols(runs / "needs", f"the {noun} is {adjective} and needs", top=100)
    by_counts.append(next(w.probability for w in after.likely if w.token == need(noun)))

figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
axes.plot(sorted(ask(unseen), reverse=True), ".", label="network, window of 5")
axes.plot(sorted(by_counts, reverse=True), ".", label="6-gram")
axes.axhline(0.5, color="grey", ls="--", lw=1)
axes.set(xlabel="new sentences, sorted", ylabel="P(what it needs)", ylim=(0, 1.02))
axes.set_title("New sentences: the network knows, the 6-gram guesses")
axes.legend(frameon=False, loc="lower left")
plt.show()
print(f"network {np.mean(ask(unseen)):.2f}, 6-gram {np.mean(by_counts):.2f} on average")

# %% [markdown]
# Why it knows can be seen in the vectors. Here they are, projected on the two directions in which
# the vectors of the nouns differ most.

# %%
nouns = MACHINES + ANIMALS
vectors = C.detach()[[ids_of[noun] for noun in nouns]].numpy()
centred = vectors - vectors.mean(axis=0)
plane = centred @ np.linalg.svd(centred)[2][:2].T
figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
for noun, (x, y) in zip(nouns, plane, strict=True):
    axes.text(x, y, noun, color="#0072B2" if noun in MACHINES else "#D55E00", ha="center")
axes.set(xlim=(plane[:, 0].min() - 0.2, plane[:, 0].max() + 0.2))
axes.set(ylim=(plane[:, 1].min() - 0.1, plane[:, 1].max() + 0.1), title="Vectors of the nouns")
plt.show()

# %% [markdown]
# Nobody told the network what a machine is. It found a direction for it, because that is what it
# takes to predict the last word.
#
# **Exercise 2.1.** What does the window cost? Count the weights of the network: the vectors, the
# hidden layer and the output layer, with their biases.


# %% tags=["exercise", "raises-exception"]
# Exercise 2.1: the number of weights
def number_of_weights(vocab_size, window, embedding_size, hidden_size):
    """Return the number of weights in C, H, d, U and b."""
    raise NotImplementedError("Exercise 2.1: add up the sizes of C, H, d, U and b")


# %% tags=["check", "raises-exception"]
ours = number_of_weights(40, 5, 6, 24)
assert ours == 40 * 6 + 30 * 24 + 24 + 24 * 40 + 40, (
    f"for 40 words, a window of 5, vectors of 6 and 24 hidden units it is 1984, and yours is {ours}"
)
growth = number_of_weights(40, 6, 6, 24) - ours
assert growth == 6 * 24, (
    f"one more word in the window adds one block of H, 6 · 24 weights, and yours adds {growth}"
)
print("Right. A window of 100 words would take", number_of_weights(40, 100, 6, 24), "weights.")

# %% [markdown]
# ## 3. On real text
#
# From here on unroll's own model does the work: the same network over characters, `arch="window"`.
# It reads Python's standard library, with windows of 1 to 16 characters, each for the same 400
# steps. `unroll.train` is a generator that reports as it goes; the last report has the loss on the
# held-out end of the text.

# %%
from unroll.data.sources import stdlib_corpus

python = stdlib_corpus().data.decode()
(runs / "python.txt").write_text(python[1_000_000:1_300_000])
SHAPE = {"embedding_size": 24, "hidden_size": 128, "dropout": 0.0}
TRAINING = {
    "batch_size": 32,
    "seq_len": 32,
    "learning_rate": 0.01,
    "sample_length": 1,
    "threads": 1,
}
bits, sizes, windows = [], [], [1, 2, 4, 8, 16]
for window in windows:
    *_, last = unroll.train(
        runs / "python.txt",
        arch="window",
        steps=400,
        out=runs / f"window{window}",
        settings={"window": window, **SHAPE, **TRAINING},
        force=True,
    )
    bits.append(last.nats / np.log(2))
    sizes.append(unroll.info(runs / f"window{window}")["parameters"])

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
left.plot(windows, bits, "o-")
left.set(xlabel="window", ylabel="bits per character, held out", title="What a longer window gains")
right.plot(windows, sizes, "s-", color="#D55E00")
right.set(xlabel="window", ylabel="weights", ylim=(0, None), title="What it costs")
for axes in (left, right):
    axes.set_xscale("log", base=2)
    axes.set_xticks(windows, windows)
plt.show()

# %% [markdown]
# Up to four characters every one helps. Then the gain ends, in these 400 steps at least: each place
# in the window has weights of its own, so what is learnt about a letter at one place has to be
# learnt again at the next. That is the price of a window, and it grows with its length.
#
# ## 4. The limit, drawn
#
# Whatever lies before the window has *no* influence. We can see that exactly: change one character
# $k$ places back, and see how much the predicted distribution changes.

# %%
text = "def read(self, size):\n    "
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
for window, marker in ((4, "s"), (8, "o")):
    loaded = unroll.load(runs / f"window{window}")  # the network in PyTorch
    ids = torch.from_numpy(loaded.tokenizer.encode(text)).long()
    other = int(loaded.tokenizer.encode("q")[0])

    def predicted(ids, model=loaded.model):
        """Return the distribution (V,) over what follows ids (T,)."""
        with torch.no_grad():
            return torch.softmax(model(ids[None])[0][0, -1], dim=0)

    changes = []
    for k in range(1, 17):
        changed = ids.clone()
        changed[-k] = other
        changes.append((predicted(changed) - predicted(ids)).abs().sum().item() / 2)
    axes.plot(range(1, 17), changes, f"{marker}-", label=f"window of {window}")
axes.set(xlabel="the character that was changed, places back", ylabel="change of the distribution")
axes.set(title="Exactly nothing beyond the window", ylim=(0, None))
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# **Exercise 2.2.** Turn this into a measurement: find the reach of *any* model, the largest $k$ at
# which changing the symbol $k$ places back changes the prediction. `predict` is a function from a
# list of ids to a prediction, and `other` an id that does not occur in the list.


# %% tags=["exercise", "raises-exception"]
# Exercise 2.2: the reach of a model
def reach(predict, ids, other):
    """Return the largest k for which putting `other` k places from the end changes predict(ids).

    The last symbol is k = 1. The reach is 0 where nothing has an influence.
    """
    raise NotImplementedError("Exercise 2.2: try every k up to len(ids), without changing ids")


# %% tags=["check", "raises-exception"]
symbols = list(range(1, 21))
for window in (1, 4, 9):
    measured = reach(lambda ids, window=window: sum(ids[-window:]), symbols, 99)
    assert measured == window, f"this model sees {window} symbols, and you measure {measured}"
assert symbols == list(range(1, 21)), "the list of ids that was handed over has changed"
assert reach(lambda ids: 0.5, symbols, 99) == 0, "a model that ignores its input has a reach of 0"
skipping = reach(lambda ids: ids[-3], symbols, 99)
assert skipping == 3, f"this model sees only the third symbol from the end, and you say {skipping}"
assert reach(sum, symbols, 99) == 20, "this one sees everything, the first symbol too"
print("Right: you can now measure the window of a model without opening it.")

# %% [markdown]
# ## 5. Never large enough
#
# How long would a window have to be? Take something simple that Python text depends on: a closing
# bracket needs its opening one.
#
# **Exercise 2.3.** Measure the distances. A stack holds the places of the brackets that are open.


# %% tags=["exercise", "raises-exception"]
# Exercise 2.3: from bracket to bracket
def bracket_distances(text):
    """Return, in the order of the closing brackets, how many characters each is behind its opening.

    Only round brackets count. A closing bracket with none open is left out: "a)" has no distance.
    """
    raise NotImplementedError("Exercise 2.3: push the place of each (, pop it at its )")


# %% tags=["check", "raises-exception"]
nested = bracket_distances("f(a, g(b))")
assert nested == [2, 8], f"f(a, g(b)) has distances 2 and 8, inner bracket first; yours: {nested}"
assert bracket_distances("a) + (b)") == [2], "a ) with no ( open before it is left out"
assert bracket_distances("((") == [], "brackets that are never closed have no distance"
print("Right: an inner bracket closes the last one opened, which is what a stack is for.")

# %% [markdown]
# Here is the answer for the whole standard library, whether or not you did the exercise: the share
# of pairs that a window covers.

# %%
import re

distances, places = [], []
for match in re.finditer(r"[()]", python):
    if match.group() == "(":
        places.append(match.start())
    elif places:
        distances.append(match.start() - places.pop())
lengths = 2 ** np.arange(1, 13)
covered = [100 * np.mean(np.array(distances) <= length) for length in lengths]
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
axes.plot(lengths, covered, "o-")
axes.axhline(100, color="grey", ls="--", lw=1)
axes.set_xscale("log", base=2)
axes.set_xticks(lengths, lengths)
axes.set(xlabel="window in characters", ylabel="pairs covered, in %", ylim=(0, 105))
axes.set_title("Brackets of Python that a window of this length can match")
plt.show()
print(f"a window of 16 misses {100 - covered[3]:.0f} % of {len(distances):,} pairs")
print(f"one of 64 misses {100 - covered[5]:.0f} %, one of 256 still {100 - covered[7]:.1f} %")

# %% [markdown]
# The curve creeps towards 100 % and does not arrive. Text has dependencies of every length: the
# bracket, the verb at the end of a German sentence, the name in a novel's first chapter.
#
# ## 6. A dependency that it cannot have
#
# `unroll.longrange` has tasks made for this question. In *agreement* the verb must fit its noun,
# however far away: *the **keys** to the old cabinet near the doors **are*** … A window of 10 words
# is trained anew for each distance between noun and verb, and tested on sentences that are new.

# %%
DISTANCES = [4, 6, 8, 10, 11, 12, 16]
table = unroll.longrange("agreement", archs=["window"], distances=DISTANCES, steps=200)
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
axes.plot(DISTANCES, [100 * result.accuracy for result in table.results], "o-")
axes.axhline(50, color="grey", ls="--", lw=1)
axes.axvline(10, color="grey", ls=":", lw=1)
axes.text(9.9, 10, "as far as the window sees", ha="right")
axes.set(xlabel="words from noun to verb", ylabel="is or are: right in %", ylim=(0, 105))
axes.set_title("A window of 10 words, trained for each distance")
plt.show()

# %% [markdown]
# Ten words away it is right every time, eleven words away it tosses a coin. Training longer does
# not help, and neither does more text: the noun is simply not among the inputs.
#
# What would help is a model that reads one word at a time and *keeps* what it needs. That is the
# next session.
#
# ## What to remember
#
# - Words as vectors, learnt with the task: what is learnt about one word serves its neighbours.
# - A window of $n$ is blind beyond $n$, exactly, and its weights grow with $n$.
# - Text depends on things at every distance, so no window is large enough.
#
# ## Sources
#
# - Y. Bengio, R. Ducharme, P. Vincent, C. Jauvin (2003). *A neural probabilistic language model.*
#   Journal of Machine Learning Research 3.
# - T. Linzen, E. Dupoux, Y. Goldberg (2016). *Assessing the ability of LSTMs to learn
#   syntax-sensitive dependencies.* The agreement of noun and verb as a test.
