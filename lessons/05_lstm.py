# %% [markdown]
# # 5 · LSTM: a memory with gates
#
# A plain recurrent network squeezes all that it knows through one `tanh` at every step. What it
# read twenty words ago is overwritten twenty times, and the gradient that should teach it to
# remember is multiplied twenty times by the same kind of matrix (session 4).
#
# The **long short-term memory** (Hochreiter & Schmidhuber 1997; with a forget gate since Gers,
# Schmidhuber & Cummins 2000) keeps a second vector, the **memory cell** $c$. It changes only
# where a gate opens. In this session you
#
# 1. build the six equations in numpy, gate by gate, and make a memory by hand,
# 2. train an LSTM on stories about *Alice … she … Bob … he* and find the cell that knows whom the
#    story is about,
# 3. watch that cell being written, updated and read, and prove by patching that it is the one,
# 4. put GRU and minGRU beside it, and
# 5. add feed-forward layers before and after.

# %% tags=["setup"]
from importlib.util import find_spec

missing = [name for name in ("matplotlib", "numpy", "torch", "unroll") if find_spec(name) is None]
assert not missing, (
    f"{', '.join(missing)} is missing: pip install '.[lessons]' in a clone of unroll"
)

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

from unroll import ablate, info, next_symbols, open_model, patch, trace, train
from unroll.insight.longrange.sentences import ENGLISH
from unroll.insight.longrange.tasks import draw, find_task, lines

plt.rcParams |= {"figure.dpi": 72, "axes.spines.top": False, "axes.spines.right": False}
plt.rcParams |= {"figure.constrained_layout.use": True, "font.size": 9}
BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#555555"


def sigmoid(x):
    """A gate: between 0, closed, and 1, open."""
    return 1 / (1 + np.exp(-x))


# %% [markdown]
# ## 1. Six equations
#
# A step reads the input $x_t$, and from the step before it the output $h_{t-1}$ and the cell
# $c_{t-1}$:
#
# $$
# \begin{aligned}
# f_t &= \sigma(W_f x_t + U_f h_{t-1} + b_f) && \text{forget gate: how much of the cell stays}\\
# i_t &= \sigma(W_i x_t + U_i h_{t-1} + b_i) && \text{input gate: how much is written}\\
# g_t &= \tanh(W_g x_t + U_g h_{t-1} + b_g) && \text{candidate: what would be written}\\
# o_t &= \sigma(W_o x_t + U_o h_{t-1} + b_o) && \text{output gate: how much is shown}\\
# c_t &= f_t \odot c_{t-1} + i_t \odot g_t && \text{the cell: keep, then add}\\
# h_t &= o_t \odot \tanh(c_t) && \text{the output: what the others see}
# \end{aligned}
# $$
#
# The four products are usually computed as one: the blocks of $W$, $U$ and $b$ are stacked, here
# in torch's order $i, f, g, o$.


# %% tags=["setup"]
def lstm_step(x, h, c, W, U, b):
    """Step an LSTM with H units: x (I,), h and c (H,), W (4H, I), U (4H, H), b (4H,)."""
    i, f, g, o = np.split(W @ x + U @ h + b, 4)
    i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
    c = f * c + i * g
    h = o * np.tanh(c)
    return {"i": i, "f": f, "g": g, "o": o, "c": c, "h": h}


# %% [markdown]
# Is that what everybody calls an LSTM? With random weights it has to agree with PyTorch.

# %%
theirs = torch.nn.LSTMCell(3, 5).double()
W, U = theirs.weight_ih.detach().numpy(), theirs.weight_hh.detach().numpy()
b = (theirs.bias_ih + theirs.bias_hh).detach().numpy()
x, h, c = np.random.default_rng(0).normal(size=(3, 5))
step = lstm_step(x[:3], h, c, W, U, b)
with torch.no_grad():
    h_theirs, c_theirs = theirs(
        torch.tensor(x[None, :3]), (torch.tensor(h[None]), torch.tensor(c[None]))
    )
print("same h:", np.allclose(step["h"], h_theirs), " same c:", np.allclose(step["c"], c_theirs))

# %% [markdown]
# ### A memory made by hand
#
# To see what each gate is for, take one unit and choose its weights. It reads four symbols:
# `+` and `-` are to be remembered, `.` is to be waited out, and at `?` the memory is to be shown.
#
# * **Input gate**: open at `+` and `-`. The **candidate** says which: 1 or −1.
# * **Forget gate**: closed at `+` and `-`, since the new value replaces the old one. Else open.
# * **Output gate**: open at `?` only. In between, nobody is disturbed by what the cell holds.

# %%
SYMBOLS = "+-.?"
weights = {
    #     +    -    .    ?
    "i": [+10, +10, -10, -10],
    "f": [-10, -10, +10, +10],
    "g": [+10, -10, 0, 0],
    "o": [-10, -10, -10, +10],
}
W, U, b = np.array([weights[gate] for gate in "ifgo"]), np.zeros((4, 1)), np.zeros(4)
text = "..+.....?...-.......?."
h, c, steps = np.zeros(1), np.zeros(1), []
for symbol in text:
    steps.append(lstm_step(np.array([symbol == s for s in SYMBOLS], float), h, c, W, U, b))
    h, c = steps[-1]["h"], steps[-1]["c"]

figure, (above, below) = plt.subplots(2, 1, figsize=(8, 3.6), sharex=True)
gates = np.array([[s[gate][0] for s in steps] for gate in "ifo"])
above.imshow(gates, aspect="auto", cmap="Blues", vmin=0, vmax=1)
above.set_yticks(range(3), ["input", "forget", "output"])
above.set_title("The gates: dark is open", loc="left")
below.plot([s["c"][0] for s in steps], color=BLUE, marker="o", ms=3, label="cell c")
below.step(
    range(len(text)), [s["h"][0] for s in steps], where="mid", color=ORANGE, label="output h"
)
below.axhline(0, color=GREY, lw=0.7)
below.set_xticks(range(len(text)), list(text))
below.set_title("Written at + and −, kept while waiting, shown at ?", loc="left")
below.legend(loc="upper right", ncols=2, frameon=False)
plt.show()

# %% [markdown]
# ### The forget gate is the memory's half-life
#
# With a closed input gate, $c_t = f^t c_0$. The same product is the way back of the gradient,
# $\partial c_t / \partial c_0 = \prod_s f_s$ along the cell: at $f = 1$ the error neither vanishes
# nor explodes. Hochreiter & Schmidhuber call it the *constant error carousel*.

# %% alt="What is left of a cell after up to 200 steps, for four forget gates"
waiting = np.arange(200)
figure, axes = plt.subplots(figsize=(8, 2.8))
for f, colour in ((0.5, ORANGE), (0.9, PINK), (0.99, GREEN), (0.999, BLUE)):
    axes.plot(waiting, f**waiting, color=colour, label=f"f = {f}, bias {np.log(f / (1 - f)):.1f}")
axes.set_xlabel("steps of waiting")
axes.set_ylabel("share of the cell that is left")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# A fresh network should be able to remember at all. So the bias of the forget gate often starts at
# 1 or above (Jozefowicz, Zaremba & Sutskever 2015), which opens the gate; `unroll` starts at 1.
#
# **Exercise 5.1.** While nothing else moves the gate, $f = \sigma(b_f)$. Which bias lets a cell
# keep exactly one half of its content after `half_life` steps?


# %% tags=["exercise", "raises-exception"]
# Exercise 5.1: the bias of a forget gate with a given half-life
def forget_bias(half_life):
    """Return b such that a cell with f = sigmoid(b) falls to one half in `half_life` steps."""
    raise NotImplementedError("Exercise 5.1: write forget_bias")


forget_bias(10)

# %% tags=["check", "raises-exception"]
for half_life in (1, 10, 100):
    f = sigmoid(forget_bias(half_life))
    assert 0 < f < 1, f"f = {f} for a half-life of {half_life}: a gate lies between 0 and 1"
    assert np.isclose(f**half_life, 0.5), (
        f"after {half_life} steps {f**half_life:.3f} of the cell is left, not 0.5: "
        "solve f**half_life = 1/2 for f, then sigmoid(b) = f for b"
    )
print("Right: 10 steps need a bias of", round(float(forget_bias(10)), 2))

# %% [markdown]
# ## 2. *Alice … she … Bob … he*
#
# Now the gates have to be learnt. The stories come from `unroll`'s long-range tasks. Each is about
# one person; others are mentioned on the way (*the letter is for Bob*), so the last name does not
# help: whoever wants to know the pronoun has to keep the subject.

# %%
task = find_task("pronouns")
Path("runs").mkdir(exist_ok=True)
stories = list(lines(task, np.random.default_rng(0), 6000, 30))
Path("runs/stories.txt").write_text("\n".join(stories) + "\n")
print(*stories[:5], sep="\n")

# %% [markdown]
# `train` yields reports while it works. A small network of words is enough: one layer of 48 units.

# %%
SMALL = {
    "hidden_size": 48,
    "embedding_size": 24,
    "batch_size": 32,
    "seq_len": 40,
    "learning_rate": 0.02,
    "dropout": 0.0,
    "reset_probability": 0.1,
    "valid_every": 100,
    "valid_tokens": 4000,
    "final_tokens": 4000,
    "sample_length": 20,
    "threads": 1,
}


def learn(name, arch, steps, **settings):
    """Train a model of the stories; return the steps of its validations and their nats."""
    reports = train(
        "runs/stories.txt",
        level="word",
        arch=arch,
        steps=steps,
        settings=SMALL | settings,
        seed=0,
        device="cpu",
        out=f"runs/{name}",
        force=True,
    )
    valid = [r for r in reports if getattr(r, "kind", "") == "valid"]
    return [r.step for r in valid], [r.nats for r in valid]


curves = {"LSTM": learn("lstm", "lstm", 800)}
figure, axes = plt.subplots(figsize=(8, 2.6))
axes.plot(*curves["LSTM"], color=BLUE)
axes.set_ylim(1.45, 1.75)
axes.set_xlabel("steps")
axes.set_ylabel("nats per word")
axes.set_title("Validation: first the grammar, then, slowly, the person", loc="left")
plt.show()

# %% [markdown]
# Does it know the pronoun? We ask for the probabilities of the next word.

# %%
lstm = open_model("runs/lstm")


def chances(model, text):
    """Return the probabilities of *she* and *he* after a text."""
    p = {likely.token: likely.probability for likely in next_symbols(model, text, top=500).likely}
    return p["she"], p["he"]


for text in (
    "Alice reads the book .",
    "Alice reads the book . the letter is for Bob .",
    "Bob reads the book . the letter is for Alice .",
    "Bob reads the book . the letter is for Alice . the tree moves . the old song is for Emma .",
):
    she, he = chances(lstm, text)
    print(f"P(she) {she:.3f}  P(he) {he:.3f}   {text}")

# %% [markdown]
# ### Find the cell
#
# A unit that keeps the person must tell women's stories from men's **at every word on the way**,
# and always with the same sign. We take pairs of new stories that differ in one name, read both
# with `trace`, which returns every gate and state at every word, and compute for each unit
#
# $$ d'_t = \frac{\bar c_t^{\,\text{women}} - \bar c_t^{\,\text{men}}}
# {\sqrt{(s^2_{\text{women}} + s^2_{\text{men}})/2}} $$
#
# at each word $t$ between the name and the pronoun. The score of a unit is its **least** $|d'_t|$.

# %%
WOMEN, MEN = ENGLISH["WOMAN"].split(), ENGLISH["MAN"].split()
rng = np.random.default_rng(1)


def story_pairs(count, distance):
    """Return pairs of test stories up to the pronoun: of a woman, and the same of a man."""
    pairs = []
    for _ in range(count):
        batch = draw(task, rng, 2, distance, "test")
        words = task.tokenizer.decode(batch.ids[0][: batch.places[-1]]).split()
        cue = len(words) - distance
        for names in (WOMEN, MEN):
            if words[cue] not in names:
                other = [*words[:cue], str(rng.choice(names)), *words[cue + 1 :]]
        both = (words, other) if words[cue] in WOMEN else (other, words)
        pairs.append(tuple(" ".join(w) for w in both))
    return pairs


def cells_of(model, text):
    """Return the memory cells (T, H) after each word of a text."""
    return trace(model, text, signals=["c"]).arrays["layer0/c"]


DISTANCE = 15
pairs = story_pairs(30, DISTANCE)
on_the_way = np.array([[cells_of(lstm.path, text)[-DISTANCE:] for text in pair] for pair in pairs])
woman, man = on_the_way[:, 0], on_the_way[:, 1]  # (pairs, DISTANCE, H)
spread = np.sqrt((woman.var(axis=0) + man.var(axis=0)) / 2)
d_prime = (woman.mean(axis=0) - man.mean(axis=0)) / spread  # (DISTANCE, H)
least = np.where(d_prime.mean(axis=0) > 0, d_prime.min(axis=0), (-d_prime).min(axis=0))
order = np.argsort(-least)
unit = int(order[0])

figure, axes = plt.subplots(figsize=(8, 2.6))
axes.bar(range(len(least)), np.sort(least)[::-1], color=[ORANGE] + [BLUE] * (len(least) - 1))
axes.axhline(0, color=GREY, lw=0.7)
axes.set_xlabel("units, the best first")
axes.set_ylabel("least d′ on the way")
axes.set_title(
    "One unit carries the person" if least[order[0]] > 2 * least[order[1]] else "", loc="left"
)
plt.show()
print("the best:", [(int(k), round(float(least[k]), 2)) for k in order[:3]])

# %% [markdown]
# ### Watch it being written, updated and read
#
# Two stories, one after the other. Follow the cell: it is *written* at the name, *kept* over
# everything that happens meanwhile, *read* at the pronoun, and *updated* by the next person.

# %%
text = (
    "Alice reads the book . the letter is for Bob . the tree moves . she laughs . "
    "Bob opens the window . the song is for Alice . he sings ."
)
words = text.split()
seen = trace(lstm.path, text).arrays
own = {signal: seen[f"layer0/{signal}"][:, unit] for signal in "ifgoch"}
sides = [chances(lstm, " ".join(words[: t + 1])) for t in range(len(words))]

figure, (top, middle, bottom) = plt.subplots(
    3, 1, figsize=(9, 5.4), sharex=True, height_ratios=[1.3, 1, 1]
)
top.plot(own["c"], color=BLUE, marker="o", ms=3)
top.axhline(0, color=GREY, lw=0.7)
top.set_title(f"The cell, unit {unit}", loc="left")
middle.imshow(np.array([own[g] for g in "ifo"]), aspect="auto", cmap="Blues", vmin=0, vmax=1)
middle.set_yticks(range(3), ["input", "forget", "output"])
middle.set_title("Its gates: dark is open", loc="left")
bottom.plot([she for she, _ in sides], color=ORANGE, marker="o", ms=3, label="P(she)")
bottom.plot([he for _, he in sides], color=GREEN, marker="s", ms=3, label="P(he)")
bottom.set_title("What the network expects next", loc="left")
bottom.legend(frameon=False, ncols=2)
bottom.set_xticks(range(len(words)), words, rotation=60, ha="right", rotation_mode="anchor")
plt.show()

# %% [markdown]
# What stands in a cell is a sum of all that was ever written, each part faded by the forget gates
# since then:
#
# $$ c_T = \sum_{t \le T} \Big( \prod_{s=t+1}^{T} f_s \Big)\, i_t g_t . $$
#
# **Exercise 5.2.** Compute the parts. `i`, `f` and `g` are arrays (T,) of one unit; return an array
# (T,) whose entry $t$ is what is left at the end of what was written at step $t$.


# %% tags=["exercise", "raises-exception"]
# Exercise 5.2: what each step has written into a cell, and what is left of it
def contributions(i, f, g):
    """Return for each step what is left in the cell, after the last step, of what it wrote."""
    raise NotImplementedError("Exercise 5.2: write contributions")


contributions(np.ones(3), np.ones(3), np.ones(3))

# %% tags=["check", "raises-exception"]
gates = np.random.default_rng(2).uniform(size=(3, 7))
cell = 0.0
for i_t, f_t, g_t in gates.T:
    cell = f_t * cell + i_t * g_t
parts = contributions(*gates)
assert np.shape(parts) == (7,), f"one part for each of the 7 steps, not {np.shape(parts)}"
assert np.isclose(parts[-1], gates[0, -1] * gates[2, -1]), (
    "the last step's own forget gate does not touch what that step writes"
)
assert np.isclose(np.sum(parts), cell), (
    f"the parts add up to {np.sum(parts):.4f}, the cell is {cell:.4f}"
)
print("Right: the parts add up to the cell")

# %% [markdown]
# The same for our cell, in three lines of numpy: just before *he*, nearly all of it was written at
# *Bob* and at the word after.

# %%
last = len(words) - 4  # the word before "he"
fading = np.append(np.cumprod(own["f"][last:0:-1])[::-1], 1.0)
parts = fading * (own["i"] * own["g"])[: last + 1]
figure, axes = plt.subplots(figsize=(9, 2.6))
axes.bar(range(last + 1), parts, color=[ORANGE if p > 0 else BLUE for p in parts])
axes.set_xticks(range(last + 1), words[: last + 1], rotation=60, ha="right", rotation_mode="anchor")
axes.set_title("Who wrote what stands in the cell just before “he”", loc="left")
plt.show()

# %% [markdown]
# ### Prove it
#
# A picture shows that the cell *goes along* with the person. Does the network *use* it? We put it
# to the test: `patch` reads both stories to a point between name and pronoun, puts a part of the
# state of the second into the first, reads on, and asks whether the pronoun turns. The measure is
# $D = \ln P(\text{she}) - \ln P(\text{he})$.

# %% alt="Bars: the share of stories whose pronoun turns, for four choices of units to patch"
testing = story_pairs(40, DISTANCE)
turned = {
    "the whole state": [],
    "our cell alone": [],
    "all other units": [],
    "8 others at random": [],
}
for woman, man in testing:
    at = len(woman.split()) - 7
    others = [k for k in range(48) if k != unit]
    chosen = {
        "our cell alone": [unit],
        "all other units": others,
        "8 others at random": rng.choice(others, 8, replace=False).tolist(),
    }
    for name, units in chosen.items():
        patched = patch(
            lstm.path, woman, man, target="she", against="he", at=at, units=[(0, k) for k in units]
        )
        turned[name].append(patched.effect("chosen", patched.parts["chosen"]).flips)
    turned["the whole state"].append(patched.effect("state", patched.parts["state"]).flips)

shares = {name: float(np.mean(flips)) for name, flips in turned.items()}
figure, axes = plt.subplots(figsize=(8, 2.2))
bars = axes.barh(list(shares)[::-1], [100 * share for share in shares.values()][::-1], color=BLUE)
axes.bar_label(bars, fmt="%.0f %%", padding=3)
axes.set_xlim(0, 115)
axes.set_xlabel(f"% of {len(testing)} stories whose pronoun turns")
plt.show()

# %% [markdown]
# One unit of 48 turns the pronoun, and all others together hardly do. The opposite test is
# to take the cell away: `ablate` clamps it at its mean and lists the words that suffer most.

# %%
without = ablate(lstm.path, 0, unit)
print(f"nats per word: {without.nats:.3f}, with the cell clamped {without.held:.3f}")
for word in without.worst[:4]:
    print(f"{word.name:8} {word.nats:6.2f} -> {word.held:5.2f} nats, {word.count} times")

# %% [markdown]
# ## 3. GRU and minGRU beside it
#
# The **gated recurrent unit** (Cho et al. 2014) does without a separate cell. One update gate $z$
# both forgets and writes, and a reset gate $r$ decides how much of the past the candidate sees:
#
# $$
# r_t = \sigma(W_r x_t + U_r h_{t-1} + b_r), \quad
# z_t = \sigma(W_z x_t + U_z h_{t-1} + b_z), \\
# n_t = \tanh\big(W_n x_t + b_n + r_t \odot (U_n h_{t-1} + b'_n)\big), \quad
# h_t = (1 - z_t) \odot n_t + z_t \odot h_{t-1} .
# $$
#
# (In this form, which cuDNN and torch use, $z$ *keeps*. In the paper, $z$ and $1-z$ stand the other
# way round, and $r$ is applied before the product.)
#
# The **minGRU** (Feng et al. 2024) takes more away: its gate and its candidate read the input
# alone, $z_t = \sigma(W_z x_t + b_z)$ and $n_t = W_n x_t + b_n$, so $h_t = (1 - z_t) h_{t-1} + z_t
# n_t$ can be computed for all steps in parallel. (Here $z$ *writes*.) The price: whether to write
# cannot depend on what has come before.
#
# **Exercise 5.3.** Write the step of a GRU in torch's form. The blocks of the weights are stacked
# in the order $r, z, n$.


# %% tags=["exercise", "raises-exception"]
# Exercise 5.3: one step of a GRU
def gru_step(x, h, W, U, b, b_h):
    """Step a GRU: x (I,), h (H,), W (3H, I), U (3H, H), b of the input and b_h of h (3H,)."""
    raise NotImplementedError("Exercise 5.3: write gru_step")


gru_step(np.zeros(3), np.zeros(5), np.zeros((15, 3)), np.zeros((15, 5)), np.zeros(15), np.zeros(15))

# %% tags=["check", "raises-exception"]
theirs = torch.nn.GRUCell(3, 5).double()
x, h = np.random.default_rng(3).normal(size=(2, 5))
w = [
    p.detach().numpy() for p in (theirs.weight_ih, theirs.weight_hh, theirs.bias_ih, theirs.bias_hh)
]
expected = theirs(torch.tensor(x[None, :3]), torch.tensor(h[None])).detach().numpy()[0]
ours = gru_step(x[:3], h, *w)
assert np.shape(ours) == (5,), f"h has 5 units, not {np.shape(ours)}"
keeps = gru_step(x[:3], h, w[0], w[1], w[2] + 50 * (np.arange(15) // 5 == 1), w[3])
assert np.allclose(keeps, h, atol=1e-6), "with z near 1 the state should stay as it is"
assert np.allclose(ours, expected), (
    f"torch has {expected.round(3)}, yours is {np.round(ours, 3)}: "
    "r multiplies U_n h + b'_n, after the product"
)
print("Right: the same as torch.nn.GRUCell")

# %% [markdown]
# Now all of them on the same stories: a plain RNN, a GRU, a minGRU of one layer, and one of two.

# %% alt="Losses of five networks while training; the share of pronouns they get right, by distance"
curves["GRU"] = learn("gru", "gru", 400)
curves["minGRU"] = learn("mingru", "mingru", 400)
curves["minGRU, 2 layers"] = learn("mingru2", "mingru", 400, num_layers=2)
curves["RNN"] = learn("rnn", "rnn", 400)


def right(model, distance, count=60):
    """Return the share of test stories whose pronoun the model gets right."""
    hits, local = 0, np.random.default_rng(4)
    for _ in range(count // 20):
        batch = draw(task, local, 20, distance, "test")
        place = batch.places[-1]
        for ids in batch.ids:
            she, he = chances(model, task.tokenizer.decode(ids[:place]))
            hits += (she > he) == (task.tokenizer.decode(ids[place : place + 1]).strip() == "she")
    return hits / (count // 20 * 20)


NAMES = {
    "LSTM": "lstm",
    "GRU": "gru",
    "minGRU": "mingru",
    "minGRU, 2 layers": "mingru2",
    "RNN": "rnn",
}
COLOURS = dict(zip(NAMES, (BLUE, GREEN, PINK, "#E69F00", ORANGE), strict=True))
DISTANCES = (5, 10, 20, 40)
scores = {}
for name, folder in NAMES.items():
    model = open_model(f"runs/{folder}")
    scores[name] = [right(model, distance) for distance in DISTANCES]

figure, (left, middle) = plt.subplots(1, 2, figsize=(9.5, 3.2))
for name in NAMES:
    left.plot(*curves[name], color=COLOURS[name], label=name)
    middle.plot(DISTANCES, [100 * s for s in scores[name]], color=COLOURS[name], marker="o", ms=4)
left.set_ylim(1.45, 1.75)
left.set_xlabel("steps")
left.set_ylabel("nats per word")
left.legend(frameon=False)
middle.axhline(50, color=GREY, ls=":", lw=1)
middle.set_xscale("log", base=2)
middle.set_xticks(DISTANCES, DISTANCES)
middle.set_xlabel("words from the name to the pronoun")
middle.set_ylabel("% right (50 is guessing)")
plt.show()
for name, folder in NAMES.items():
    print(f"{name:18} {info(f'runs/{folder}')['parameters']:6,} parameters")

# %% [markdown]
# Read the picture with the equations at hand. GRU and LSTM can write *because of what came before*:
# a name after a full stop opens a story, a name after *for* does not. A single layer of minGRU sees
# *Bob* the same way in both places, so every name overwrites the person. With two layers, the
# second reads what the first has made of the words before.
#
# The plain RNN is still guessing after as many steps: it has no gate to hold a value with. (With
# three times the training, an orthogonal recurrent matrix to start from and clipped gradients it
# learned these stories as well when we tried. Session 4 shows what stands in its way.)

# %% [markdown]
# ## 4. Layers before and after
#
# Recurrent layers rarely stand alone:
#
# $$ \text{symbol} \to \text{embedding} \to \underbrace{\text{feed-forward}}_{\text{before}}
# \to \text{LSTM} \to \underbrace{\text{feed-forward}}_{\text{after}} \to \text{softmax} . $$
#
# A layer *before* turns the symbol into something better suited to be remembered. A layer *after*
# turns the state into something better suited to predict with: without it, each logit is a linear
# function of $h_t$. Neither has a state. Their number of weights does not depend on the length of
# the text, as ever. We try them on characters, on a module of Python's standard library.

# %% alt="Bars: bits per character with and without layers before and after the LSTM"
shapes = {"LSTM alone": (0, 0), "one before": (1, 0), "one after": (0, 1), "both": (1, 1)}
results = {}
for name, (before, after) in shapes.items():
    out = f"runs/layers-{before}{after}"
    settings = {
        "hidden_size": 64,
        "embedding_size": 32,
        "dropout": 0.0,
        "layers_before": before,
        "layers_after": after,
        "batch_size": 16,
        "seq_len": 64,
        "valid_tokens": 4000,
        "final_tokens": 20000,
        "threads": 1,
    }
    source = Path(os.__file__).with_name("argparse.py")
    for _ in train(source, steps=150, settings=settings, seed=0, device="cpu", out=out, force=True):
        pass
    results[name] = (info(out)["parameters"], info(out)["valid_bits_per_char"])

figure, axes = plt.subplots(figsize=(8, 2.2))
bars = axes.barh(list(results)[::-1], [bits for _, bits in results.values()][::-1], color=BLUE)
axes.bar_label(
    bars, [f"{bits:.2f}, {n:,} weights" for n, bits in results.values()][::-1], padding=3
)
axes.set_xlim(0, 1.35 * max(bits for _, bits in results.values()))
axes.set_xlabel("bits per character of held-out text after 150 steps")
plt.show()

# %% [markdown]
# In our run the layer *after* helps at once. The layer *before* costs at first: everything has to
# pass through it, and 150 steps are too few for it to become useful. That is typical: deeper
# networks need longer training before they pay. You can now test every idea of this kind. Change
# one thing, keep the steps, the seed and the text, and measure.
#
# ## What you have seen
#
# * The cell is a sum. The gates decide what enters it, what stays and what shows.
# * A trained LSTM of 48 units keeps *the person of the story* in a single cell. We found it by its
#   activity, watched it, and proved it: put into another story, it alone turns the pronoun.
# * A GRU does the same with one state. A minGRU gives up gates that look at the state, and so needs
#   a second layer for the same task.
#
# On the command line: `unroll trace`, `unroll patch`, `unroll ablate`, `unroll longrange`.
#
# ## Sources
#
# * S. Hochreiter, J. Schmidhuber: Long short-term memory. *Neural Computation* 9, 1997.
# * F. Gers, J. Schmidhuber, F. Cummins: Learning to forget. *Neural Computation* 12, 2000.
# * K. Cho et al.: Learning phrase representations using RNN encoder–decoder. EMNLP 2014.
# * R. Jozefowicz, W. Zaremba, I. Sutskever: An empirical exploration of recurrent network
#   architectures. ICML 2015.
# * L. Feng et al.: Were RNNs all we needed? arXiv:2410.01201, 2024.
