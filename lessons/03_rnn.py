# %% [markdown]
# # 3 · SimpleRNN: one step, again and again
#
# A window of $n$ words is blind beyond $n$ and has weights for each of its places. Elman (1990)
# had a simpler idea: read one symbol at a time, and keep a **state** $h$, a vector that goes into
# the next step together with the next symbol. The same weights serve every step.
#
# In this session you write that network in ten lines, follow its loss and its gradient by hand,
# let it write, use its last state as a summary of what it read, and see the two sides of its one
# idea: it reads texts of any length, and it has to read them one step after another.

# %% tags=["setup"]
from importlib.util import find_spec

missing = [name for name in ("matplotlib", "numpy", "torch", "unroll") if find_spec(name) is None]
assert not missing, (
    f"{', '.join(missing)} is missing: pip install '.[lessons]' in a clone of unroll"
)

import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import unroll

plt.style.use("tableau-colorblind10")
plt.rcParams |= {"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False}

# %% [markdown]
# ## 1. Ten lines
#
# With $x_t$ the symbol at step $t$, as a vector that is 1 at its place and 0 elsewhere:
#
# $$h_t = \tanh(W x_t + W_h h_{t-1} + b), \qquad y_t = U h_t + c, \qquad
#   P(x_{t+1} \mid x_1 \dots x_t) = \operatorname{softmax}(y_t)$$
#
# $W x_t$ just picks the column of $W$ that belongs to the symbol.


# %% tags=["setup"]
def make_weights(vocab_size, hidden_size, seed=0):
    """Return the weights of a network, by the names of the equation."""
    random = np.random.default_rng(seed)
    return {
        "W": random.normal(size=(hidden_size, vocab_size)) / 2,
        "W_h": random.normal(size=(hidden_size, hidden_size)) / hidden_size**0.5,
        "b": np.zeros(hidden_size),
        "U": random.normal(size=(vocab_size, hidden_size)) / hidden_size**0.5,
        "c": np.zeros(vocab_size),
    }


def read(ids, w, h):
    """Return the states (T, H) after each of T symbols, beginning with the state h (H,)."""
    states = []
    for symbol in ids:
        h = np.tanh(w["W"][:, symbol] + w["W_h"] @ h + w["b"])
        states.append(h)
    return np.array(states)


def predict(states, w):
    """Return P(next symbol) after each state, (T, V)."""
    scores = np.exp(states @ w["U"].T + w["c"])
    return scores / scores.sum(axis=1, keepdims=True)


# %%
text = "anna is driving a car"
letters = sorted(set(text))
ids = np.array([letters.index(letter) for letter in text])
w = make_weights(len(letters), 12)
states = read(ids, w, np.zeros(12))

figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
image = axes.imshow(states.T, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
axes.set_xticks(range(len(text)), list(text))
axes.set(xlabel="symbols, one step each", ylabel="unit of h", title="The state, step by step")
figure.colorbar(image)
plt.show()

# %% [markdown]
# Each column is made from the one before it and one letter. The four letters *a* of *anna* and
# *a car* give four different columns: the state depends on all that came before.
#
# The state is a **value** that one can keep. Whoever reads half of a text, keeps the last state
# and reads the rest later gets the very same states. Texts may have any length, and the weights
# are the same for all of them:

# %%
whole = read(ids, w, np.zeros(12))
first = read(ids[:9], w, np.zeros(12))
second = read(ids[9:], w, first[-1])
print("in two pieces:", np.abs(np.concatenate([first, second]) - whole).max(), "apart")
for length in (1, 100, 10_000):
    long_text = np.resize(ids, length)
    last = read(long_text, w, np.zeros(12))[-1]
    print(f"{length:,} symbols: {sum(v.size for v in w.values())} weights, a state of {len(last)}")

# %% [markdown]
# ## 2. One loss for each step, summed
#
# At every step the network predicts the next symbol, and every step has its loss, the surprisal of
# what came. The loss of the text is their sum:
#
# $$L = \sum_{t=1}^{T} L_t, \qquad L_t = -\ln P(x_{t+1} \mid x_1 \dots x_t)$$

# %%
inputs, targets = ids[:-1], ids[1:]
p = predict(read(inputs, w, np.zeros(12)), w)
nats = -np.log(p[np.arange(len(targets)), targets])
figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
axes.bar(range(len(nats)), nats)
axes.axhline(np.log(len(letters)), color="grey", ls="--", lw=1)
axes.set_xticks(range(len(nats)), [letters[k] for k in targets])
axes.set(ylabel="nats", title="The loss of each step; dashed: guessing among all letters")
plt.show()
print(f"summed: {nats.sum():.1f} nats for {len(nats)} symbols")

# %% [markdown]
# **Exercise 3.1.** Write the loss of a text: read the inputs from the state `h`, predict at every
# step, and add up the surprisal of what came. Use `read` and `predict`.


# %% tags=["exercise", "raises-exception"]
# Exercise 3.1: one loss for each step, summed
def total_loss(inputs, targets, w, h):
    """Return the sum of -ln P(target) over all steps, in nats."""
    raise NotImplementedError("Exercise 3.1: read, predict, and pick P of each target")


# %% tags=["check", "raises-exception"]
random = np.random.default_rng(4)
small, start = make_weights(6, 5, seed=4), random.normal(size=5)
some_inputs, some_targets = random.integers(6, size=9), random.integers(6, size=9)
by_steps, state = 0.0, start
for one_input, one_target in zip(some_inputs, some_targets, strict=True):
    state = read([one_input], small, state)[-1]
    by_steps -= np.log(predict(state[None], small)[0, one_target])
loss = total_loss(some_inputs, some_targets, small, start)
assert np.ndim(loss) == 0, "the loss of a text is one number"
assert not np.isclose(loss, by_steps / 9), "this is the mean over the steps; the loss is their sum"
assert np.isclose(loss, by_steps), (
    f"step by step the losses add up to {by_steps:.3f}, and yours is {loss:.3f}: "
    "does each step count, from the state h on, with P of its own target?"
)
print("Right:", round(float(loss), 2), "nats for 9 steps.")

# %% [markdown]
# ## 3. Back-propagation through time, by hand
#
# How does $L$ change with a weight? $W_h$ is used at every step, so its gradient is a sum over all
# steps. Unrolled in time the network is a deep one with $T$ layers that share their weights, and
# back-propagation runs through it from the last step to the first (Werbos 1990). Call
# $\delta_t = \partial L / \partial h_t$. The state $h_t$ acts on $L_t$ and on the next state:
#
# $$\delta_t = U^\top (p_t - x_{t+1})
#   + W_h^\top \big( (1 - h_{t+1}^2) \odot \delta_{t+1} \big), \qquad
#   \frac{\partial L}{\partial W_h} = \sum_t \big( (1 - h_t^2) \odot \delta_t \big)\, h_{t-1}^\top$$
#
# where $1 - h^2$ is the derivative of $\tanh$, and $p_t - x_{t+1}$ that of softmax and logarithm.


# %% tags=["setup"]
def bptt(inputs, targets, w, h):
    """Return the gradient of the summed loss by each weight, and the last state."""
    states = read(inputs, w, h)
    before = np.concatenate([h[None], states[:-1]])  # the state that each step began with
    errors = predict(states, w)
    errors[np.arange(len(targets)), targets] -= 1  # p - x
    gradient = {name: np.zeros_like(weight) for name, weight in w.items()}
    gradient["U"], gradient["c"] = errors.T @ states, errors.sum(axis=0)
    from_later = np.zeros_like(h)
    for t in reversed(range(len(inputs))):
        delta = w["U"].T @ errors[t] + from_later  # ∂L/∂h_t
        inner = (1 - states[t] ** 2) * delta  # through tanh
        gradient["W"][:, inputs[t]] += inner
        gradient["W_h"] += np.outer(inner, before[t])
        gradient["b"] += inner
        from_later = w["W_h"].T @ inner
    return gradient, states[-1]


def autograd(inputs, targets, w, h, k=None):
    """Return the same gradient by automatic differentiation, cut after every k steps if given."""
    tensors = {name: torch.tensor(weight, requires_grad=True) for name, weight in w.items()}
    h, loss = torch.tensor(h), 0.0
    for t, (symbol, target) in enumerate(zip(inputs, targets, strict=True)):
        if k is not None and t % k == 0:
            h = h.detach()  # the value continues, the gradient does not
        h = torch.tanh(tensors["W"][:, symbol] + tensors["W_h"] @ h + tensors["b"])
        loss = loss - torch.log_softmax(tensors["U"] @ h + tensors["c"], dim=0)[target]
    loss.backward()
    return {name: tensor.grad.numpy() for name, tensor in tensors.items()}


# %%
by_hand, _ = bptt(inputs, targets, w, np.zeros(12))
automatic = autograd(inputs, targets, w, np.zeros(12))
figure, axes = plt.subplots(figsize=(4.6, 4), layout="constrained")
for name in w:
    axes.plot(automatic[name].ravel(), by_hand[name].ravel(), ".", label=f"${name}$")
low, high = axes.get_xlim()
axes.plot([low, high], [low, high], color="grey", lw=0.8, zorder=0)
axes.set(xlabel="gradient by autograd", ylabel="gradient by hand")
axes.set_title("Every weight on the diagonal")
axes.legend(frameon=False)
plt.show()
print("largest difference:", max(np.abs(by_hand[name] - automatic[name]).max() for name in w))

# %% [markdown]
# A text of a million symbols cannot be unrolled at once. In practice the text is cut into pieces of
# $k$ steps: the *state* is carried from piece to piece, the *gradient* stops at the cut. This is
# **truncated** back-propagation through time, and what `unroll.train` does.
#
# **Exercise 3.2.** Write it with `bptt`, which returns the gradient of a piece and its last state.
# Add up the gradients of the pieces.


# %% tags=["exercise", "raises-exception"]
# Exercise 3.2: truncated back-propagation through time
def truncated(inputs, targets, w, h, k):
    """Return the sum of the gradients of pieces of k steps (the last may be shorter), by weight."""
    raise NotImplementedError("Exercise 3.2: carry the state from piece to piece, add gradients")


# %% tags=["check", "raises-exception"]
random = np.random.default_rng(5)
small, start = make_weights(6, 5, seed=5), random.normal(size=5)
some_inputs, some_targets = random.integers(6, size=11), random.integers(6, size=11)
for k, why in (
    (11, "with one piece it is the whole gradient"),
    (4, "pieces of 4, 4 and 3 steps: is the state carried, and does the last piece count?"),
    (1, "pieces of one step: the state is carried all the same"),
):
    gradient = truncated(some_inputs, some_targets, small, start, k)
    expected = autograd(some_inputs, some_targets, small, start, k)
    for name in small:
        gap = np.abs(gradient[name] - expected[name]).max()
        assert gap < 1e-9, f"k = {k}, {name} is {gap:.2g} from autograd's: {why}"
print("Right: the same as autograd with a cut, for every k.")

# %% [markdown]
# How much does the cut cost? Here is the angle between the whole gradient of $W_h$ and the
# truncated one, on average over texts of 200 random letters. Short pieces point elsewhere, and each
# doubling gains less. (Why the far past counts for so little is the subject of session 4.)

# %% alt="The angle to the whole gradient falls as more steps are kept before the cut"
random = np.random.default_rng(6)
pieces, angles = [1, 2, 4, 8, 16, 32, 64], np.zeros(7)
for _ in range(8):
    long_inputs, long_targets = random.integers(len(letters), size=(2, 200))
    exact = autograd(long_inputs, long_targets, w, np.zeros(12))["W_h"].ravel()
    for place, k in enumerate(pieces):
        cut = autograd(long_inputs, long_targets, w, np.zeros(12), k)["W_h"].ravel()
        cosine = cut @ exact / np.linalg.norm(cut) / np.linalg.norm(exact)
        angles[place] += np.degrees(np.arccos(min(1.0, cosine))) / 8
figure, axes = plt.subplots(figsize=(8, 2.8), layout="constrained")
axes.plot(pieces, angles, "o-")
axes.set_xscale("log", base=2)
axes.set_xticks(pieces, pieces)
axes.set(xlabel="steps before the cut, k", ylabel="degrees from the whole gradient", ylim=(0, None))
plt.show()

# %% [markdown]
# ## 4. To text
#
# Now the ten lines learn. The text comes from the small grammar of session 1, letter by letter;
# 32 streams are read side by side, 40 steps at a time, the state is carried and the gradient cut.

# %%
PEOPLE = ["John", "Mary", "Anna", "Peter", "the teacher", "the farmer", "the child"]
OBJECTS = {
    "driving": ["car", "truck", "bus", "tractor"],
    "feeding": ["cat", "dog", "horse", "child"],
    "reading": ["book", "letter", "newspaper"],
    "painting": ["house", "window", "horse"],
}
PLACES = [" in the garden", " at home", " near the river", " today", ""]
random = np.random.default_rng(7)


def sentence():
    """Return one sentence of the small language."""
    verb = random.choice(list(OBJECTS))
    thing = random.choice(OBJECTS[verb])
    return f"{random.choice(PEOPLE)} is {verb} a {thing}{random.choice(PLACES)}.\n"


corpus = "".join(sentence() for _ in range(4000))
alphabet = sorted(set(corpus))
data = torch.tensor([alphabet.index(letter) for letter in corpus])
print(corpus[:160])
print(f"{len(corpus):,} letters, {len(alphabet)} different ones")

# %%
STEPS, ROWS, HIDDEN = 40, 32, 96
net = {name: torch.tensor(v).float() for name, v in make_weights(len(alphabet), HIDDEN, 8).items()}
for tensor in net.values():
    tensor.requires_grad_()


def step(ids, h):
    """Read one symbol of each row (B,) in the states h (B, H); return the new states."""
    return torch.tanh(net["W"].T[ids] + h @ net["W_h"].T + net["b"])


optimizer = torch.optim.Adam(net.values(), lr=3e-3)
streams = data[: len(data) // ROWS * ROWS].view(ROWS, -1)
h, losses, place = torch.zeros(ROWS, HIDDEN), [], 0
for _ in range(600):
    if place + STEPS + 1 > streams.shape[1]:
        h, place = torch.zeros(ROWS, HIDDEN), 0
    window = streams[:, place : place + STEPS + 1]
    h, loss = h.detach(), 0.0
    for t in range(STEPS):
        h = step(window[:, t], h)
        scores = h @ net["U"].T + net["c"]
        loss = loss + torch.nn.functional.cross_entropy(scores, window[:, t + 1])
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.values(), 5.0 * STEPS)
    optimizer.step()
    losses.append(loss.item() / STEPS)
    place += STEPS

figure, axes = plt.subplots(figsize=(8, 2.6), layout="constrained")
axes.plot(losses)
axes.set(xlabel="step", ylabel="nats a letter", ylim=(0, None), title="The loss while training")
plt.show()
choices = len(PEOPLE) * len(OBJECTS) * 3.5 * len(PLACES)
floor = np.log(choices) / np.mean([len(line) + 1 for line in corpus.splitlines()])
print(f"the last losses: {np.mean(losses[-20:]):.2f} nats a letter; the grammar's own: {floor:.2f}")

# %% [markdown]
# The grammar itself chooses among some 500 sentences, and no model can do better than the surprisal
# of these choices. (The small peaks: there the text begins again, from a state of zeros.)
#
# To write, feed the network its own choice: draw a letter from $P$, read it, draw the next. One
# unlucky letter, and the network is where it has never been; mostly it finds its way back.

# %% tags=["varies"]
generator = torch.Generator().manual_seed(9)
with torch.no_grad():
    h, symbol, written = torch.zeros(1, HIDDEN), torch.tensor([alphabet.index("\n")]), ""
    for _ in range(300):
        h = step(symbol, h)
        p = torch.softmax(h @ net["U"].T + net["c"], dim=1)
        symbol = torch.multinomial(p, 1, generator=generator)[0]
        written += alphabet[symbol]
print(written)

# %% [markdown]
# ## 5. The last state sums up the sentence
#
# After *Anna is driving a* the network must know that something to drive comes next. All it has is
# the state, so the state must hold it. Read every beginning, *person* is *verb* a, and look at the
# last states, projected on the two directions in which they differ most.


# %%
def last_state(text):
    """Return the state (H,) after a text."""
    with torch.no_grad():
        h = torch.zeros(1, HIDDEN)
        for letter in "\n" + text:
            h = step(torch.tensor([alphabet.index(letter)]), h)
    return h[0].numpy()


figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
beginnings = [(verb, f"{person} is {verb} a ") for verb in OBJECTS for person in PEOPLE]
vectors = np.array([last_state(text) for _, text in beginnings])
centred = vectors - vectors.mean(axis=0)
plane = centred @ np.linalg.svd(centred)[2][:2].T
for verb, marker in zip(OBJECTS, "os^D", strict=True):
    rows = [row for row, (name, _) in enumerate(beginnings) if name == verb]
    axes.plot(*plane[rows].T, marker, label=f"… is {verb} a")
axes.legend(frameon=False)
axes.set_title("Last states of 28 beginnings: by what comes next, not by who")
plt.show()

# %% [markdown]
# The seven people of each verb lie together: the state keeps what the next word depends on, and
# lets go of the rest. So after the same *ca* one state expects the car, another the cat:

# %%
for beginning in ("John is driving a ca", "John is feeding a ca"):
    h = torch.tensor(last_state(beginning))[None]
    p = torch.softmax(h @ net["U"].T.detach() + net["c"].detach(), dim=1)[0]
    car, cat = (p[alphabet.index(letter)].item() for letter in "rt")
    print(f"{beginning}… P(r) = {car:.2f}, P(t) = {cat:.2f}")

# %% [markdown]
# **Exercise 3.3.** Texts are read in batches for speed, and they differ in length. The shorter ones
# are filled up with a symbol that means nothing. Return the state of each row after its own last
# symbol. Whatever stands behind must not matter.


# %% tags=["exercise", "raises-exception"]
# Exercise 3.3: the last states of a batch
def last_states(rows, lengths, w):
    """Return the states (B, H) after the first `lengths` (B,) symbols of rows (B, T) of ids.

    Every row begins with a state of zeros.
    """
    raise NotImplementedError(
        "Exercise 3.3: read each row, and take the state after its last symbol"
    )


# %% tags=["check", "raises-exception"]
small = make_weights(6, 5, seed=10)
rows, lengths = np.random.default_rng(10).integers(6, size=(3, 7)), np.array([7, 2, 4])
vectors = np.asarray(last_states(rows, lengths, small))
assert vectors.shape == (3, 5), f"three rows and five units make (3, 5), not {vectors.shape}"
for row in range(3):
    alone = read(rows[row, : lengths[row]], small, np.zeros(5))[-1]
    assert np.allclose(vectors[row], alone), (
        f"row {row} has {lengths[row]} symbols of 7, and its state is not that of the row alone: "
        "does it read what was filled in, stop too early, or begin with another row's state?"
    )
changed = rows.copy()
changed[1, 2:] = (changed[1, 2:] + 1) % 6
assert np.allclose(last_states(changed, lengths, small), vectors), "the filling has an influence"
print("Right: what fills a row up has no influence.")

# %% [markdown]
# ## 6. Against the window
#
# From here on unroll trains. The same text as in session 2, the same 400 steps, the same hidden
# layer of 128: a window of 8 and a recurrent network, `arch="rnn"`.

# %%
from unroll.data.sources import stdlib_corpus

runs = Path("runs")
runs.mkdir(exist_ok=True)
python = stdlib_corpus().data.decode()
(runs / "python.txt").write_text(python[1_000_000:1_300_000])
SHAPE = {"embedding_size": 24, "hidden_size": 128, "dropout": 0.0, "window": 8}
TRAINING = {
    "batch_size": 32,
    "seq_len": 32,
    "learning_rate": 0.01,
    "sample_length": 1,
    "threads": 1,
}
bits = {}
for arch in ("window", "rnn"):
    *_, last = unroll.train(
        runs / "python.txt",
        arch=arch,
        steps=400,
        out=runs / arch,
        settings={**SHAPE, **TRAINING},
        force=True,
    )
    bits[arch] = last.nats / np.log(2)
    weights = unroll.info(runs / arch)["parameters"]
    print(f"{arch}: {bits[arch]:.2f} bits per character, {weights:,} weights")

# %%
loaded = unroll.load(runs / "rnn")
ids = torch.from_numpy(loaded.tokenizer.encode(python[1_310_000:1_370_000])).long()
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
for arch, marker in (("window", "s"), ("rnn", "o")):
    model = unroll.load(runs / arch).model
    crops = ids[: len(ids) // 30 * 30].view(-1, 30)
    with torch.no_grad():
        scores, _ = model(crops[:, :-1])
        nats = torch.nn.functional.cross_entropy(
            scores.flatten(0, 1), crops[:, 1:].flatten(), reduction="none"
        )
    by_place = nats.view(len(crops), -1).mean(dim=0) / np.log(2)
    smooth = np.convolve(by_place, np.ones(3) / 3, mode="valid")
    axes.plot(range(2, 2 + len(smooth)), smooth, f"{marker}-", label=arch)
axes.axvline(8, color="grey", ls=":", lw=1)
axes.set(xlabel="characters read before", ylabel="bits per character", ylim=(2.5, None))
axes.set_title("Loss by what was read: dotted, the end of the window")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# With fewer weights the recurrent network is the better model: what it learns at one place serves
# at all places.
#
# The state is a value here, too: `model(ids, state)` returns the scores and the state after the
# last symbol, and a text read in pieces gives the same as the whole.

# %%
model = unroll.load(runs / "rnn").model
with torch.no_grad():
    whole, _ = model(ids[None, :600])
    first, state = model(ids[None, :250])
    second, state = model(ids[None, 250:600], state)
gap = (torch.cat([first, second], dim=1) - whole).abs().max().item()
print(f"600 characters at once or as 250 and 350: {gap:.5f} apart")

# %% [markdown]
# ## 7. Why it is slow to compute
#
# A window computes all places of a text at once: each needs only the input. In the recurrent
# network $h_t$ needs $h_{t-1}$, which needs $h_{t-2}$: the steps cannot be done side by side. We
# time one training step on one core, forwards and backwards, for one row of $T$ symbols. The times
# are multiples of the window's at $T = 32$.


# %% tags=["varies"]
def seconds(model, length, repeats=7):
    """Return the least processor time of a pass forwards and backwards over one row."""
    row, best = ids[None, : length + 1], np.inf
    for _ in range(repeats):
        began = time.process_time()
        loss, _ = model.loss(row[:, :-1], row[:, 1:])
        loss.backward()
        best = min(best, time.process_time() - began)
    return best


torch.set_num_threads(1)
lengths = [32, 64, 128, 256, 512, 1024, 2048]
models = {arch: unroll.load(runs / arch).model for arch in ("window", "rnn")}
took = {arch: [seconds(model, length) for length in lengths] for arch, model in models.items()}
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
for (arch, values), marker in zip(took.items(), "so", strict=True):
    axes.plot(lengths, np.array(values) / took["window"][0], f"{marker}-", label=arch)
axes.set_xscale("log", base=2)
axes.set_yscale("log")
axes.set_xticks(lengths, lengths)
axes.set(xlabel="symbols of a row, T", ylabel="time, window at 32 = 1")
axes.set_title("One step of training on one row")
axes.legend(frameon=False)
plt.show()
ratio = took["rnn"][-1] / took["window"][-1]
print(f"at T = 2048 the recurrent network takes {ratio:.1f} times as long")

# %% [markdown]
# Per symbol the recurrent network multiplies fewer numbers, and still takes longer: a thousand
# small products, one after another, instead of one large one. More cores do not help a single row.
# That is why one trains many rows side by side, why kernels for recurrent networks matter, and why
# models that can be computed side by side (session 5 has one, the minGRU) are still looked for.
#
# ## What to remember
#
# - $h_t = \tanh(W x_t + W_h h_{t-1} + b)$: one step, the same weights at every step, any length.
# - One loss for each step; the gradient runs back through all steps, or through $k$ of them.
# - The last state sums up what was read, as far as the next symbols need it.
# - Steps wait for each other, so it is slow to compute.
#
# ## Sources
#
# - J. Elman (1990). *Finding structure in time.* Cognitive Science 14.
# - P. Werbos (1990). *Backpropagation through time: what it does and how to do it.*
#   Proceedings of the IEEE 78.
# - R. Williams, J. Peng (1990). *An efficient gradient-based algorithm for on-line training of
#   recurrent network trajectories.* Truncation.
# - T. Mikolov et al. (2010). *Recurrent neural network based language model.*
