# %% [markdown]
# # 4 · What goes wrong: decay, and gradients that vanish or explode
#
# *Anna **sieht** sich heute auf der Brücke wie ein Kind … **an**.* In German, the verb may leave a
# part of itself for the very end. Whoever wants to predict *an* must still know *sieht*. The
# network of session 3 has a state for that, and no limit. Does it remember?
#
# In this session you measure how fast a state forgets, find the same decay in its gradients, see
# it in German sentences, and meet the opposite: gradients that explode, and their cure.

# %% tags=["setup"]
from importlib.util import find_spec

missing = [name for name in ("matplotlib", "numpy", "torch", "unroll") if find_spec(name) is None]
assert not missing, (
    f"{', '.join(missing)} is missing: pip install '.[lessons]' in a clone of unroll"
)

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch

import unroll

plt.style.use("tableau-colorblind10")
plt.rcParams |= {"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False}

# %% [markdown]
# ## 1. A difference that fades
#
# Two texts differ in one early word and are the same from then on. Their states differ after that
# word; how much of the difference is left $t$ steps later? If nothing is left, no output can
# depend on the word any more.
#
# We take networks with random weights, and choose how large the recurrent weights are by their
# **spectral radius** $\rho$, the largest absolute eigenvalue of $W_h$.


# %% tags=["setup"]
def recurrent_weights(radius, hidden_size=64, seed=0):
    """Return random recurrent weights (H, H) of this spectral radius."""
    weights = np.random.default_rng(seed).normal(size=(hidden_size, hidden_size))
    return weights * radius / np.abs(np.linalg.eigvals(weights)).max()


def read(x, W_h, h):
    """Return the states (T, H) after each of the inputs x (T, H), which are W x + b already."""
    states = []
    for x_t in x:
        h = np.tanh(x_t + W_h @ h)
        states.append(h)
    return np.array(states)


# %%
RADII = [0.5, 0.9, 1.2, 2.4]
random = np.random.default_rng(1)
x = random.normal(size=(80, 64)) / 2
h_sieht, h_hoert = random.normal(size=(2, 64)) / 10  # the states after two different verbs

figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
for radius in RADII:
    W_h = recurrent_weights(radius)
    apart = np.linalg.norm(read(x, W_h, h_sieht) - read(x, W_h, h_hoert), axis=1)
    axes.semilogy(apart, label=f"ρ = {radius}")
axes.set(xlabel="steps after the word that differs", ylabel="distance of the states")
axes.set(title="What is left of a difference", ylim=(1e-12, 100))
axes.legend(frameon=False, loc="lower left")
plt.show()

# %% [markdown]
# With small weights the difference fades as a power of the steps: a straight line on this scale.
# With large weights it does not fade, and that is no memory either: the smallest difference grows
# until it fills the state, whatever it was. The state is then *chaotic*, and nothing can be read
# from it. Between the two lies a narrow edge.
#
# Why a power? For small states $\tanh(a) \approx a$, and each step multiplies the difference by
# $W_h$. After $t$ steps it is $W_h^t$ times the first difference, which shrinks like $\rho^t$. Here
# the states are not small, $\tanh$ is flatter than a straight line, and differences fade faster
# still: even with $\rho = 1.2$.
#
# **Exercise 4.1.** After how many steps is half of it left?


# %% tags=["exercise", "raises-exception"]
# Exercise 4.1: the half-life of a difference
def half_life(radius):
    """Return the number of steps t for which radius ** t is 1/2; math.inf if it never is."""
    raise NotImplementedError("Exercise 4.1: solve radius ** t = 1/2 for t")


# %% tags=["check", "raises-exception"]
assert math.isclose(half_life(0.5), 1), "with ρ = 0.5 half is left after one step"
nine = half_life(0.9)
assert math.isclose(0.9**nine, 0.5), f"0.9 ** t should be 0.5, and with your {nine:.3f} it is not"
for radius in (1, 1.2):
    assert half_life(radius) == math.inf, f"with ρ = {radius} nothing fades: math.inf"
print(f"Right: with ρ = 0.9 half is gone after {nine:.1f} steps.")

# %% [markdown]
# ## 2. The gradient takes the same way back
#
# Learning to remember takes a gradient that reaches the word that should be remembered. From
# session 3 we know how it gets there: through $W_h^\top$ and the derivative of $\tanh$, at every
# step. From the loss at step $T$ to the state $k$ steps before,
#
# $$\frac{\partial L_T}{\partial h_{T-k}} =
#   \underbrace{\Big( \prod_{t=T-k+1}^{T} W_h^\top \operatorname{diag}(1 - h_t^2) \Big)}_{k
#   \text{ factors}} \; \frac{\partial L_T}{\partial h_T}$$
#
# A product of $k$ similar matrices. The derivative $1 - h^2$ is at most 1, so if the largest
# singular value of $W_h$ is below 1 the gradient **must vanish**, exponentially in $k$; if it is
# above 1 the gradient **may explode** (Hochreiter 1991; Bengio, Simard & Frasconi 1994; Pascanu,
# Mikolov & Bengio 2013).
#
# **Exercise 4.2.** Measure it. Go back from the last step, and note the norm at each.


# %% tags=["exercise", "raises-exception"]
# Exercise 4.2: norms of the gradient by lag
def norms_by_lag(states, W_h, delta):
    """Return the norms (T,) of ∂L/∂h at the last state and at the T - 1 before it, going back.

    `states` is (T, H), and `delta` (H,) is ∂L/∂h at the last of them. The norm at lag 0 is delta's.
    """
    raise NotImplementedError("Exercise 4.2: through 1 - h² of the later state, then through W_h")


# %% tags=["check", "raises-exception"]
random = np.random.default_rng(2)
some_x, some_W, some_delta = random.normal(size=(9, 5)), random.normal(size=(5, 5)), np.ones(5)
h, handed_on = torch.zeros(5, dtype=torch.float64, requires_grad=True), []
for x_t in torch.tensor(some_x):
    h = torch.tanh(x_t + torch.tensor(some_W) @ h)
    h.retain_grad()
    handed_on.append(h)
(h @ torch.tensor(some_delta)).backward()
expected = [h.grad.norm().item() for h in reversed(handed_on)]
norms = np.asarray(norms_by_lag(read(some_x, some_W, np.zeros(5)), some_W, some_delta))
assert norms.shape == (9,), f"nine states have nine norms, lag 0 included, not {norms.shape}"
assert np.isclose(norms[0], expected[0]), "at lag 0 the gradient is delta itself"
assert np.isclose(norms[1], expected[1]), (
    f"at lag 1 autograd has {expected[1]:.4f} and you have {norms[1]:.4f}: first times 1 - h² of "
    "the last state, then W_h transposed"
)
assert np.allclose(norms, expected), (
    "at larger lags: 1 - h² is that of the later state of each step"
)
print("Right: the same as autograd at all", len(norms), "lags.")

# %% [markdown]
# For our four networks autograd gives:


# %%
def gradient_norms(x, W_h):
    """Return the norms of ∂L/∂h by lag, for a loss at the last step whose gradient is 1/√H."""
    W_h, h, states = torch.tensor(W_h), torch.zeros(len(W_h), dtype=torch.float64), []
    h.requires_grad_()
    for x_t in torch.tensor(x):
        h = torch.tanh(x_t + W_h @ h)
        h.retain_grad()
        states.append(h)
    (h.sum() / len(h) ** 0.5).backward()
    return [h.grad.norm().item() for h in reversed(states)]


figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
for radius in RADII:
    axes.semilogy(gradient_norms(x, recurrent_weights(radius)), label=f"ρ = {radius}")
axes.set(xlabel="lag: steps back from the loss", ylabel="norm of the gradient")
axes.set_title("Vanishing and exploding gradients")
axes.legend(frameon=False, loc="lower left")
plt.show()

# %% [markdown]
# Over 80 steps the four networks differ by dozens of orders of magnitude. Where the gradient has
# fallen to a millionth, the word *sieht* has no say in how the weights change: the network cannot
# *learn* to remember it, even if it could.
#
# ## 3. *sieht … an*, by distance
#
# `unroll.longrange` asks exactly this. Seven particles end the sentences of its task *german*, each
# announced by verbs of its own, with the given number of words between.

# %%
from unroll.insight.longrange.tasks import draw, find_task

task = find_task("german")
random = np.random.default_rng(3)
for distance in (4, 8, 12):
    batch = draw(task, random, 7, distance)
    print(f"{distance:2}: {task.tokenizer.decode(batch.ids[0]).strip()}")
print("the particles:", ", ".join(task.candidates))

# %%
DISTANCES = [3, 5, 8, 12, 20]
table = unroll.longrange("german", archs=["rnn-uniform"], distances=DISTANCES, steps=300)
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
axes.plot(DISTANCES, [100 * result.accuracy for result in table.results], "o-")
axes.axhline(100 * task.chance, color="grey", ls="--", lw=1)
axes.text(20, 100 * task.chance + 2, "guessing", ha="right", color="grey")
axes.set(xlabel="words from verb to particle", ylabel="right in %", ylim=(0, 105))
axes.set_title("SimpleRNN after 300 steps, trained anew for each distance")
plt.show()

# %% [markdown]
# Near verbs are learnt at once. A dozen words away the network guesses among seven particles, and
# yet the verb *is* in its input, unlike in session 2: no window ends here. What is missing is a
# gradient that says so.
#
# ## 4. Measured in a network that was trained
#
# Now a network that reads running German of this kind, sentences of all distances up to 20.
# `unroll.gradients` measures the norm of the gradient by lag at many places of a text, for the
# network as it was trained and as it was before.

# %%
from unroll.insight.longrange.tasks import lines

runs = Path("runs")
runs.mkdir(exist_ok=True)
german = "\n".join(lines(task, np.random.default_rng(4), 6000, 20)) + "\n"
(runs / "german.txt").write_text(german)
*_, last = unroll.train(
    runs / "german.txt",
    arch="rnn",
    level="word",
    words="space",
    steps=300,
    out=runs / "german",
    settings={
        "embedding_size": 32,
        "hidden_size": 64,
        "dropout": 0.0,
        "batch_size": 16,
        "seq_len": 32,
        "sample_length": 1,
        "threads": 1,
    },
    force=True,
)
print(f"held out: {last.nats:.2f} nats a word")
report = unroll.gradients(runs / "german", lags=40, fresh=True)
figure, axes = plt.subplots(figsize=(8, 3.2), layout="constrained")
for model, style in zip(report.models, ("o-", "s--"), strict=True):
    norms = model.norms.h[0]
    name = "before training" if model.fresh else "trained"
    axes.semilogy(range(1, len(norms)), norms[1:] / norms[1], style, ms=4, label=name)
    print(f"{name}: halves every {model.norms.half_life()[0] or math.inf:.1f} steps")
axes.set(xlabel="lag in words", ylabel="norm of the gradient, lag 1 = 1")
axes.set_title("The gradient of a word's loss by earlier states")
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# Training did not help: the gradient now halves even sooner. Most words of a sentence depend on the
# last two or three, the network adapts to these, and twenty words back next to nothing arrives.
#
# ## 5. Too much: the cliff
#
# Where gradients explode, the loss has walls. Take the smallest recurrent network, one unit with
# $h_t = \sigma(w\, h_{t-1} + b)$ and $h_0 = 1/2$, and ask that $h_{50}$ be 0.7. This is its loss
# over the two weights (after Pascanu et al. 2013, figure 6).

# %% alt="Maps over w and b: the loss, and the logarithm of the gradient's norm, with a steep edge"
grid_w, grid_b = np.meshgrid(np.linspace(3.5, 7.5, 240), np.linspace(-3.2, -1.8, 200))
h = np.full_like(grid_w, 0.5)
for _ in range(50):
    h = 1 / (1 + np.exp(-(grid_w * h + grid_b)))
surface = (h - 0.7) ** 2
steepness = np.hypot(*np.gradient(surface, grid_b[:, 0], grid_w[0]))

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for axes, values, title in (
    (left, surface, "loss"),
    (right, np.log10(steepness + 1e-9), "log₁₀ of the gradient's norm"),
):
    image = axes.pcolormesh(grid_w, grid_b, values, cmap="viridis", rasterized=True)
    axes.set(xlabel="w", ylabel="b", title=title)
    figure.colorbar(image, ax=axes)
plt.show()
print(f"the gradient's norm goes from {steepness.min():.0e} to {steepness.max():.0f}")

# %% [markdown]
# Two plains with a wall between them. On the plains the gradient is small; on the wall it is a
# thousand times as large, and one step along it throws the weights far away. The direction is
# right, and the length is not. So keep the direction and limit the length: **clipping** (Pascanu
# et al. 2013). With $g$ the gradient by *all* weights together, as one long vector,
#
# $$g \leftarrow \frac{\theta}{\lVert g \rVert}\, g \quad \text{if } \lVert g \rVert > \theta$$
#
# **Exercise 4.3.** Write it.


# %% tags=["exercise", "raises-exception"]
# Exercise 4.3: clip the norm of all gradients together
def clip(gradients, threshold):
    """Return arrays of gradients, scaled together so that their norm is at most threshold."""
    raise NotImplementedError("Exercise 4.3: one norm for all arrays, one factor for all")


# %% tags=["check", "raises-exception"]
large = [np.array([[3.0, 0.0], [0.0, 0.0]]), np.array([4.0])]  # together they have norm 5
clipped = clip(large, 1.0)
norm = np.sqrt(sum((part**2).sum() for part in clipped))
assert np.isclose(norm, 1), f"norm 5 clipped at 1 should have norm 1, and yours has {norm:.3f}"
ratio = clipped[0][0, 0] / clipped[1][0]
assert np.isclose(ratio, 3 / 4), (
    f"the direction must stay, 3 : 4 between the two arrays, and yours is {ratio:.2f} : 1: "
    "is there one factor for all?"
)
assert all(np.allclose(a, b) for a, b in zip(clip(large, 7.0), large, strict=True)), (
    "a gradient whose norm is below the threshold stays as it is"
)
print("Right: the length is limited, the direction stays.")

# %% [markdown]
# ## 6. Clipping, at work
#
# A network that begins with recurrent weights far too large, $\rho = 2.4$, learns Python text by
# plain gradient descent: once as it comes, once clipped at 1, from the same start on the same data.

# %% tags=["varies"]
from unroll.data.sources import stdlib_corpus

python = stdlib_corpus().data.decode()[1_000_000:1_150_000]
alphabet = sorted(set(python))
index = {letter: number for number, letter in enumerate(alphabet)}
data = torch.tensor([index[letter] for letter in python])
ROWS, STEPS, HIDDEN = 16, 50, 64
streams = data[: len(data) // ROWS * ROWS].view(ROWS, -1)


def descend(threshold, steps=160, rate=1.0):
    """Train from a bad start; return the loss and the norm of the gradient at every step."""
    torch.manual_seed(5)
    W = torch.randn(len(alphabet), HIDDEN) / 2
    W_h = torch.tensor(recurrent_weights(2.4)).float()
    U, b, c = (
        torch.randn(HIDDEN, len(alphabet)) / 8,
        torch.zeros(HIDDEN),
        torch.zeros(len(alphabet)),
    )
    weights = [weight.requires_grad_() for weight in (W, W_h, U, b, c)]
    h, losses, norms = torch.zeros(ROWS, HIDDEN), [], []
    for number in range(steps):
        window = streams[:, number * STEPS : (number + 1) * STEPS + 1]
        h, loss = h.detach(), 0.0
        for t in range(STEPS):
            h = torch.tanh(W[window[:, t]] + h @ W_h.T + b)
            loss = loss + torch.nn.functional.cross_entropy(h @ U + c, window[:, t + 1])
        gradients = torch.autograd.grad(loss / STEPS, weights)
        norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients)).item()
        factor = min(1.0, threshold / norm)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= rate * factor * gradient
        losses.append(loss.item() / STEPS)
        norms.append(norm)
    return losses, norms


figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for threshold, name in ((math.inf, "as it comes"), (1.0, "clipped at 1")):
    losses, norms = descend(threshold)
    left.plot(losses, lw=1, label=name)
    right.semilogy(norms, lw=1, label=name)
    print(f"{name}: worst loss {max(losses):.1f}, mean of the last 20 {np.mean(losses[-20:]):.1f}")
left.set(xlabel="step", ylabel="nats a character", title="loss", ylim=(0, None))
right.axhline(1, color="grey", ls="--", lw=1)
right.set(xlabel="step", title="norm of the gradient, before clipping")
right.legend(frameon=False)
plt.show()

# %% [markdown]
# Clipping cures the explosion. It does nothing for the opposite: where the gradient vanishes there
# is nothing to clip. For that the step itself has to change, so that something can pass through
# many steps unharmed. That is the LSTM, in the next session.
#
# ## What to remember
#
# - What a state holds fades like $\rho^t$, or drowns in chaos.
# - The gradient is a product of as many matrices as there are steps: it vanishes or explodes.
# - Vanishing: far words are in the input and are not learnt. Exploding: walls in the loss; clip.
#
# ## Sources
#
# - S. Hochreiter (1991). *Untersuchungen zu dynamischen neuronalen Netzen.* Diploma thesis, TU
#   München.
# - Y. Bengio, P. Simard, P. Frasconi (1994). *Learning long-term dependencies with gradient descent
#   is difficult.* IEEE Transactions on Neural Networks 5.
# - R. Pascanu, T. Mikolov, Y. Bengio (2013). *On the difficulty of training recurrent neural
#   networks.* ICML.
