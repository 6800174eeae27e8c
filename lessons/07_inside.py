# %% [markdown]
# # 7 · Look inside your own model
#
# A model that writes well knows something. What, and where does it keep it? Pictures of a single
# cell that *seems* to count brackets are quickly found (Karpathy, Johnson & Fei-Fei 2016), and
# quickly believed: among a few hundred units one always fits a little. In this session you ask four
# questions of a model, and check every answer.
#
# 1. Which **cell** goes along with a property of the text, and is it more than chance?
# 2. Does the network **use** that cell? Clamp it and see.
# 3. How far back does the model **remember**?
# 4. Which symbols **made** a prediction?
#
# Everything works on a model of your own: put its directory and a text below.

# %% tags=["setup"]
from importlib.util import find_spec

missing = [
    name
    for name in ("matplotlib", "numpy", "sklearn", "torch", "unroll")
    if find_spec(name) is None
]
assert not missing, (
    f"{', '.join(missing)} is missing: pip install '.[lessons]' in a clone of unroll"
)

import sysconfig
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import unroll

plt.rcParams |= {"figure.dpi": 72, "axes.spines.top": False, "axes.spines.right": False}
plt.rcParams |= {"figure.constrained_layout.use": True, "font.size": 9}
BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#555555"

# %%
MODEL = Path("runs/code")  # the directory of a recurrent model: yours, or the one made below
TEXT = Path("runs/held-out.txt")  # a text of the same kind that it has not been trained on

stdlib = Path(sysconfig.get_path("stdlib"))
Path("runs").mkdir(exist_ok=True)
if not MODEL.exists():
    modules = [stdlib / f"{name}.py" for name in ("argparse", "ast", "calendar", "configparser")]
    modules += [
        stdlib / f"{name}.py" for name in ("csv", "datetime", "difflib", "inspect", "typing")
    ]
    settings = {
        "hidden_size": 128,
        "embedding_size": 32,
        "batch_size": 16,
        "seq_len": 64,
        "dropout": 0.0,
        "valid_tokens": 5000,
        "final_tokens": 10000,
        "threads": 1,
    }
    for _ in unroll.train(
        [module for module in modules if module.exists()],
        steps=700,
        settings=settings,
        seed=0,
        device="cpu",
        out=MODEL,
    ):
        pass
    held_out = (stdlib / "textwrap.py").read_text() + (stdlib / "shlex.py").read_text()
    TEXT.write_text(held_out[:16_000])

about = unroll.info(MODEL)
print(f"{about['arch']}, {about['layers']} layer of {about['hidden_size']} units")
print(f"{about['valid_bits_per_char']:.2f} bits per character on its validation part")

# %% [markdown]
# ## 1. Which cell tracks what?
#
# `trace` gives every gate and state at every symbol. Here is a piece of the text, coloured by one
# unit: orange where the cell is high, blue where it is low. Change the number and look at a few.
# It is tempting to see a meaning in each of them.

# %%
from html import escape

from IPython.display import HTML, display


def coloured(text, values):
    """Show a text with each symbol coloured by a value: blue below 0, orange above."""
    scale = np.abs(values).max() or 1.0
    spans = []
    for symbol, value in zip(text, values / scale, strict=True):
        colour = "213,94,0" if value > 0 else "0,114,178"
        shown = "↵<br>" if symbol == "\n" else escape(symbol)
        spans.append(
            f'<span style="background:rgba({colour},{0.7 * abs(value):.2f})">{shown}</span>'
        )
    style = (
        "font-family:monospace;white-space:pre-wrap;line-height:1.5;background:white;color:black"
    )
    display(HTML(f'<div style="{style}">{"".join(spans)}</div>'))


UNIT = 5
piece = TEXT.read_text()[2000:2600]
seen = unroll.trace(MODEL, piece, signals=["c"]).arrays["layer0/c"]
coloured(piece, seen[:, UNIT])

# %% [markdown]
# So let us ask properly. A property gives each symbol of the text a label: 1 inside a comment, say,
# and 0 elsewhere. A unit tracks the property if its values order the symbols by it. The measure is
# the area under the ROC curve, which needs no threshold: the probability that a symbol with the
# property has a higher value than one without it (ties count one half).
#
# $$ \mathrm{AUROC} = P(v_+ > v_-) + \tfrac12 P(v_+ = v_-) $$
#
# 1 is perfect, ½ is guessing, 0 is perfect upside down.
#
# **Exercise 7.1.** Compute it.


# %% tags=["exercise", "raises-exception"]
# Exercise 7.1: the area under the ROC curve
def auroc(values, labels):
    """Return the AUROC of values (N,) for labels (N,) of 0 and 1."""
    raise NotImplementedError("Exercise 7.1: write auroc")


auroc(np.array([0.1, 0.9]), np.array([0, 1]))

# %% tags=["check", "raises-exception"]
assert np.isclose(auroc(np.array([1.0, 2.0, 3.0, 4.0]), np.array([0, 0, 1, 1])), 1), (
    "every symbol with the property lies above every one without: that is 1"
)
assert np.isclose(auroc(np.array([4.0, 3.0, 2.0, 1.0]), np.array([0, 0, 1, 1])), 0), (
    "turned upside down, it is 0"
)
assert np.isclose(auroc(np.array([1.0, 1.0, 1.0]), np.array([0, 1, 1])), 0.5), (
    "all values equal: ties count one half"
)
mixed = auroc(np.array([1.0, 2.0, 2.0, 3.0]), np.array([0, 1, 0, 1]))
assert np.isclose(mixed, 3.5 / 4), (
    f"of four pairs three are in order and one is a tie: 3.5 of 4, not {mixed:.3f}"
)
print("Right: pairs in order, ties one half")

# %% [markdown]
# `cells` does this for every unit at once, and then tries to prove itself wrong. Units are chosen
# on one half of the text and scored on the other. The score must beat
#
# * the best of all units when the labels are **shifted** against the text (chance),
# * every unit of an **untrained** network of the same shape,
# * what the **last eight characters** say about the property anyhow.
#
# *suggestive* has passed the first test, *tracks* all three. And *causal* means: clamped at its
# mean, the cell harms the prediction of exactly those symbols at which the property changes.

# %%
findings = {}
for name in ("line", "comment", "bracket", "case"):
    tracking = unroll.cells(MODEL, TEXT, property=name, top=1)
    findings[name] = tracking
    best = tracking.findings[0]
    metric = tracking.labels.metric
    print(f"{name:8} unit {best.cell.unit:3}  {metric} {best.score:.2f}  {best.word}")

# %% alt="By property: the best unit, an untrained one, chance, and the last 8 characters"
names = list(findings)
firsts = [findings[name].findings[0] for name in names]
figure, axes = plt.subplots(figsize=(8, 2.9))
places = np.arange(len(names))
axes.bar(places, [f.score for f in firsts], 0.6, color=BLUE, label="the best unit, on new text")
axes.plot(places, [f.untrained for f in firsts], "D", color=ORANGE, label="best untrained unit")
axes.plot(places, [f.null for f in firsts], "_", ms=22, mew=2, color="black", label="chance (99 %)")
axes.plot(
    places,
    [findings[name].recent for name in names],
    "v",
    color=GREEN,
    label="the last 8 characters",
)
axes.set_xticks(places, [f"{n}\n({findings[n].labels.metric})" for n in names])
axes.set_ylim(0, 1.05)
axes.legend(frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.2))
plt.show()

# %% [markdown]
# Look at the green marks before you believe a bar: a property that the last eight characters give
# away needs no memory. A cell is interesting where the bar stands above all three.
#
# This is the text around a place where the property of the best such cell changes.

# %% alt="The value of the unit at each character, and the property that it follows"
gains = {
    name: f.score - max(f.untrained, f.null, findings[name].recent)
    for name, f in zip(names, firsts, strict=True)
}
chosen = max(gains, key=gains.get)
tracking = findings[chosen]
cell, sample = tracking.findings[0].cell, tracking.sample
print(f"{chosen}: {tracking.labels.what}. Unit {cell.unit}, signal {cell.signal}")
coloured(list(sample.symbols), sample.values - sample.values.mean())
count = min(110, len(sample.symbols))
figure, axes = plt.subplots(figsize=(10, 2.4))
axes.plot(sample.values[:count], color=BLUE, marker="o", ms=2.5)
beside = axes.twinx()
beside.step(range(count), sample.labels[:count], where="mid", color=ORANGE, alpha=0.7)
axes.set_xticks(range(count), [s.replace("\n", "↵") for s in sample.symbols[:count]], fontsize=7)
axes.set_ylabel(f"unit {cell.unit}", color=BLUE)
beside.set_ylabel(chosen, color=ORANGE)
plt.show()

# %% [markdown]
# ## 2. Does the network use it?
#
# *Goes along with* is not *is used for*. `ablate` clamps the cell at its mean, at every step, and
# compares what the symbols cost then. Beside it, it clamps other units that move as much.

# %%
without = unroll.ablate(MODEL, cell.layer, cell.unit, signal=cell.signal, file=TEXT)
print(f"nats per character: {without.nats:.3f}; clamped: {without.held:.3f}")
print(f"that is {without.ratio:.1f} times what clamping one of {without.matched} other units costs")

worst = without.worst[:8]
figure, axes = plt.subplots(figsize=(8, 2.4))
axes.bar(range(len(worst)), [w.held - w.nats for w in worst], color=ORANGE)
axes.set_xticks(range(len(worst)), [f"{w.name}\n{w.count} times" for w in worst])
axes.set_ylabel("nats added to each")
axes.set_title("What it can no longer predict as well", loc="left")
plt.show()

# %% [markdown]
# The total may be small: most symbols do not care. Look at which ones do. Are these the symbols
# that the property is about? A cell that tracks brackets should be missed at brackets, one that
# tracks the indent at the blanks after a newline. Where the harm is spread over everything, the
# network keeps the knowledge in many units, or needs this one for something else.
#
# ## 3. How far back does it remember?
#
# The loss after exactly $k$ symbols of context falls as $k$ grows: $L(1) \ge L(2) \ge \dots$, on
# average. What it falls by in all, $L(1) - L(\infty)$, is what history is worth to the model.
# Beside your model stands a window of 8 symbols (session 2), which cannot look further.

# %%
if not Path("runs/window").exists():
    modules = [stdlib / f"{name}.py" for name in ("argparse", "inspect", "typing", "datetime")]
    settings = {"hidden_size": 128, "embedding_size": 32, "window": 8, "threads": 1}
    settings |= {"valid_tokens": 5000, "final_tokens": 10000}
    for _ in unroll.train(
        modules,
        arch="window",
        steps=400,
        settings=settings,
        seed=0,
        device="cpu",
        out="runs/window",
    ):
        pass

remembered = unroll.memory([MODEL, "runs/window"], file=TEXT, limit=256, targets=300)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3))
for model, colour, label in zip(
    remembered.models, (BLUE, ORANGE), ("yours", "window of 8"), strict=True
):
    contexts = model.plan.contexts
    left.plot(contexts, model.losses / np.log(2), color=colour, marker="o", ms=4, label=label)
    harm = model.harm["shuffled"] / np.log(2)
    right.plot(model.plan.distances, harm, color=colour, marker="o", ms=4, label=label)
left.set_xlabel("characters of context")
left.set_ylabel("bits per character")
left.set_title("More context, less surprise", loc="left")
left.legend(frameon=False)
right.set_xlabel("characters nearby that are left in order")
right.set_ylabel("bits lost")
right.set_title("Does the order of the rest matter?", loc="left")
for axes in (left, right):
    axes.set_xscale("log", base=2)
plt.show()

# %% [markdown]
# The right picture is a stronger question (Khandelwal et al. 2018): all symbols stay, but those
# beyond the nearest $k$ are shuffled. Where that costs nothing, the model has at most a rough idea
# of what was there.
#
# **Exercise 7.2.** Give the first picture a number: the smallest measured context that brings a
# share of the whole gain $L(1) - L(\infty)$, here 99 %.


# %% tags=["exercise", "raises-exception"]
# Exercise 7.2: the effective length of memory
def effective_context(contexts, losses, full, share=0.99):
    """Return the smallest of `contexts` whose loss has fallen by that share of losses[0] - full."""
    raise NotImplementedError("Exercise 7.2: write effective_context")


effective_context([1, 2, 4, 8], [3.0, 2.0, 1.5, 1.01], 1.0)

# %% tags=["check", "raises-exception"]
contexts, losses = np.array([1, 2, 4, 8, 16]), np.array([3.0, 2.0, 1.2, 1.01, 1.0])
assert effective_context(contexts, losses, 1.0) == 8, (
    "the whole gain is 3 - 1 = 2 nats; after 8 symbols 1.99 of it are there, which is 99.5 %; "
    f"yours is {effective_context(contexts, losses, 1.0)}"
)
assert effective_context(contexts, losses, 1.0, share=0.9) == 4, (
    "90 % of the gain, 1.8 nats, are there after 4 symbols"
)
assert effective_context(contexts, losses + 5, 6.0, share=0.5) == 2, (
    "a harder text with the same gain has the same effective context: "
    "the share is of the gain, not of the loss"
)
print("Right: a share of the gain")

# %%
for model, label in zip(remembered.models, ("yours", "window of 8"), strict=True):
    print(f"{label}: 99 % of the gain within {model.span_99.symbols:.0f} characters")
figure, axes = plt.subplots(figsize=(8, 2.6))
norms = remembered.models[0].gradient.norms
axes.plot(norms / norms[0], color=BLUE)
axes.set_yscale("log")
axes.set_xlabel("characters between a state and the loss")
axes.set_ylabel("gradient, lag 0 is 1")
axes.set_title("How far back does an error reach?", loc="left")
plt.show()

# %% [markdown]
# ## 4. Which symbols made this prediction?
#
# Give the model a text and ask about the next symbol. Two answers:
#
# * **Leave-one-out**: zero the embedding of one symbol and see how much $\ln p$ falls. Simple, one
#   reading of the text for each symbol, and blind where two symbols stand in for each other.
# * **Integrated gradients** (Sundararajan, Taly & Yan 2017): follow the gradient from an empty text
#   to the real one. The scores of all symbols *add up* to the whole difference:
#
# $$ s_t = x_t \cdot \int_0^1 \frac{\partial F(\alpha x)}{\partial x_t}\, d\alpha, \qquad
# \sum_t s_t = F(x) - F(0). $$

# %%
TEXT_BEFORE = "        if self._value is not N"
TARGET = "o"
why = unroll.attribute(MODEL, TEXT_BEFORE, target=TARGET)
print(f"P({TARGET}) = {np.exp(why.value):.3f}, after an empty text {np.exp(why.baseline):.4f}")
print(f"the scores add up to {why.scores.sum():.3f} of {why.value - why.baseline:.3f} nats")
symbols = list(TEXT_BEFORE)
figure, axes = plt.subplots(figsize=(10, 2.8))
scores = why.scores[: why.at]
axes.bar(range(len(scores)), scores, color=[ORANGE if s > 0 else BLUE for s in scores])
axes.plot(why.leave_out[: why.at], "D", ms=4, mfc="white", color="black", label="leave-one-out")
axes.axhline(0, color=GREY, lw=0.7)
axes.set_xticks(range(len(symbols)), [s.replace(" ", "␣") for s in symbols])
axes.set_ylabel("nats of ln p")
axes.set_title("For (orange) and against (blue) the o of “None”", loc="left")
axes.legend(frameon=False)
plt.show()
coloured(symbols, scores)

# %% [markdown]
# **Exercise 7.3.** Write leave-one-out for any function of a list of symbols. A symbol is left out
# by putting `blank` in its place.


# %% tags=["exercise", "raises-exception"]
# Exercise 7.3: leave-one-out
def leave_one_out(score, symbols, blank="_"):
    """Return for each symbol how much score(symbols) falls when `blank` stands in its place."""
    raise NotImplementedError("Exercise 7.3: write leave_one_out")


leave_one_out(len, ["a", "b"])


# %% tags=["check", "raises-exception"]
def quotes_open(symbols):
    """Score 3 where a quotation mark is open, and 1 more for an exclamation mark."""
    return 3 * (symbols.count('"') % 2) + ("!" in symbols)


text = list('say "hi!')
effects = leave_one_out(quotes_open, text)
assert len(effects) == len(text), f"one number for each of {len(text)} symbols, not {len(effects)}"
assert text == list('say "hi!'), "the list that was handed over must stay as it was: change a copy"
assert effects[4] == 3, (
    f"without the quotation mark the score falls from 4 to 1: its effect is 3, not {effects[4]}"
)
assert effects[7] == 1 and effects[0] == 0, "“!” has an effect of 1, “s” of 0"
assert list(leave_one_out(quotes_open, list('"a"'))) == [-3, 0, -3], (
    "each of two marks closes the other: leaving one out opens a quotation, and the score rises"
)
print("Right: the fall of the score")

# %% [markdown]
# ## What you have seen
#
# * A unit that fits is not a finding. Shifted labels, an untrained network and the last eight
#   characters are cheap tests, and most pretty units fail one of them.
# * A unit that tracks is not yet used. Clamping it shows what the model loses, and where.
# * Memory has a length that can be measured, and it is shorter than one thinks.
# * Scores of symbols should add up, and agree with leaving them out.
#
# All of this on the command line, with pages and pictures: `unroll cells`, `unroll ablate`, `unroll
# memory --report memory.html`, `unroll attribute`, `unroll trace`. And `unroll studio` shows a
# model at work, cell by cell.
#
# ## Sources
#
# * A. Karpathy, J. Johnson, L. Fei-Fei: Visualizing and understanding recurrent networks. ICLR
#   workshop 2016.
# * U. Khandelwal, H. He, P. Qi, D. Jurafsky: Sharp nearby, fuzzy far away. ACL 2018.
# * M. Sundararajan, A. Taly, Q. Yan: Axiomatic attribution for deep networks. ICML 2017.
