# %% [markdown]
# # 1 · How probable is a sentence?
#
# *John is driving a car.* *John is driving a cat.* Both are English, and only one of them is
# something people say. A **language model** knows the difference: it gives every sentence a
# probability.
#
# In this session you build the oldest language model, which only counts, ask it about the car and
# the cat, and measure how good it is. Then you watch it run out of counts, which is why the rest
# of this course exists. You need no more than Python and the idea of a conditional probability.

# %% tags=["setup"]
from importlib.util import find_spec

missing = [name for name in ("matplotlib", "numpy", "unroll") if find_spec(name) is None]
assert not missing, (
    f"{', '.join(missing)} is missing: pip install '.[lessons]' in a clone of unroll"
)

import math
from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import unroll

plt.style.use("tableau-colorblind10")
plt.rcParams |= {"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False}

# %% [markdown]
# ## 1. A small language
#
# A small grammar speaks for the world: people do things, each with the objects that suit it. Every
# sentence is a list of words between `<s>` and `</s>`. The end is a word like any other: a model
# has to say where a sentence stops.

# %% tags=["setup"]
PEOPLE = ["John", "Mary", "Anna", "Peter", "the teacher", "the farmer", "the child"]
OBJECTS = {
    "driving": ["car", "car", "car", "truck", "bus", "tractor"],
    "repairing": ["car", "truck", "bus", "window"],
    "washing": ["car", "truck", "cat", "dog", "horse", "window"],
    "feeding": ["cat", "cat", "cat", "dog", "horse", "child"],
    "stroking": ["cat", "cat", "dog", "horse"],
    "reading": ["book", "letter", "newspaper"],
}
PLACES = ["in the garden", "at home", "near the river", "today", ""]


def sentence(random):
    """Return one sentence of the small language, as a list of words."""
    verb = random.choice(list(OBJECTS))
    parts = [random.choice(PEOPLE), "is", verb, "a", random.choice(OBJECTS[verb])]
    return ["<s>", *" ".join([*parts, random.choice(PLACES)]).split(), "</s>"]


random = np.random.default_rng(1)
train = [sentence(random) for _ in range(2000)]
test = [sentence(random) for _ in range(500)]

# %%
for words in train[:5]:
    print(" ".join(words))
print(f"{len(train)} sentences, {len({word for words in train for word in words})} different words")

# %%
counts = Counter(word for words in train for word in words[1:])
names, numbers = zip(*counts.most_common(25), strict=True)
colours = ["#D55E00" if name in ("cat", "car") else "#0072B2" for name in names]
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
axes.bar(names, numbers, color=colours)
axes.tick_params("x", rotation=90)
axes.set_ylabel("count")
axes.set_title("How often each word occurs: cat more often than car")
plt.show()

# %% [markdown]
# By itself, *cat* is the more probable word. What makes *car* the better ending must lie in what
# comes before.
#
# ## 2. The chain rule
#
# The probability of a sentence $w_1 \dots w_T$ is a product of conditional probabilities, one for
# each word given all words before it. This is the chain rule, and it is exact:
#
# $$P(w_1 \dots w_T) = \prod_{t=1}^{T} P(w_t \mid w_1 \dots w_{t-1})$$
#
# Nobody can count all beginnings of sentences. So an **n-gram** model looks at the last $n-1$
# words only, and estimates the probability by counting (Shannon 1948):
#
# $$P(w_t \mid w_{t-n+1} \dots w_{t-1})
#   \approx \frac{c(w_{t-n+1} \dots w_{t-1} \, w_t)}{c(w_{t-n+1} \dots w_{t-1})}$$


# %% tags=["setup"]
def context_of(words, t, n):
    """Return the n-1 words before word t, or as many as there are."""
    return tuple(words[max(0, t - n + 1) : t])


def count_ngrams(sentences, n):
    """Count how often each word follows each context of n-1 words."""
    follows = {}
    for words in sentences:
        for t in range(1, len(words)):
            follows.setdefault(context_of(words, t, n), Counter())[words[t]] += 1
    return follows


def probability(follows, word, context):
    """Return P(word | context), a share of counts; 0 after a context that was never seen."""
    counter = follows.get(context, Counter())
    return counter[word] / counter.total() if counter else 0.0


three = count_ngrams(train, 3)


# %%
for n in (1, 2, 3):
    follows = count_ngrams(train, n)
    context = ("is", "driving", "a")[3 - (n - 1) :]
    car, cat = (probability(follows, word, context) for word in ("car", "cat"))
    given = " ".join(context)
    print(f"n = {n}: P(car | {given}) = {car:.3f}, P(cat | {given}) = {cat:.3f}")

# %% [markdown]
# One word of context (*a*) does not help: nouns of all kinds follow it. Two words (*driving a*)
# decide the matter. How much context a model sees is the question of this whole course.
#
# Probabilities of sentences are tiny, so we add logarithms instead of multiplying. $-\ln P$ is
# the **surprisal** of a word, in *nats* (in *bits* with $\log_2$): 0 for what had to come, large
# for what nobody expected.

# %%
follows = count_ngrams(train, 3)
figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
for offset, ending, colour in ((-0.2, "car", "#0072B2"), (0.2, "cat", "#D55E00")):
    words = ["<s>", "John", "is", "driving", "a", ending, "today", "</s>"]
    shares = [probability(follows, words[t], context_of(words, t, 3)) for t in range(1, len(words))]
    nats = [-math.log(share) if share else 8 for share in shares]
    axes.bar(
        np.arange(len(nats)) + offset, nats, 0.4, color=colour, label=f"… driving a {ending} …"
    )
    for place, share in enumerate(shares):
        if share == 0:
            axes.text(place + offset, 8, "∞", ha="center", va="bottom", fontsize=14)
axes.set_xticks(range(len(nats)), ["John", "is", "driving", "a", "car | cat", "today", "</s>"])
axes.set(ylabel="surprisal in nats", ylim=(0, 9.5))
axes.legend(frameon=False, loc="upper left")
axes.set_title("Alike up to the last choice, n = 3")
plt.show()

# %% [markdown]
# The two sentences cost the same up to *a*. There the counts part: nobody was ever seen driving a
# cat, so $P = 0$ and the surprisal is infinite. After *a cat* the word *today* is as good as after
# *a car*.
#
# **Exercise 1.1.** Write the surprisal of a whole sentence: the sum of $-\ln P$ over its words,
# each given the $n-1$ words before it. The start `<s>` is given, so it costs nothing; the end
# `</s>` counts. A word that was never seen in its context has probability 0, and makes the
# sentence infinitely surprising.


# %% tags=["exercise", "raises-exception"]
# Exercise 1.1: the surprisal of a sentence
def sentence_nats(follows, words, n):
    """Return -ln P of a sentence, a list of words from <s> to </s>, by counts of n-grams."""
    raise NotImplementedError("Exercise 1.1: add up -ln P of each word, math.inf where P is 0")


# %% tags=["check", "raises-exception"]
driving = ["<s>", "John", "is", "driving", "a", "car", "</s>"]
by_hand = math.prod(
    probability(three, driving[t], tuple(driving[max(0, t - 2) : t])) for t in range(1, 7)
)
nats = sentence_nats(three, driving, 3)
assert math.isclose(math.exp(-nats), by_hand), (
    f"P is the product of the words' probabilities, {by_hand:.6f}, and yours is "
    f"{math.exp(-nats):.6f}: did you count every word from the first after <s> to </s>?"
)
assert sentence_nats(three, [*driving[:5], "cat", "</s>"], 3) == math.inf, (
    "nobody drives a cat in this text: P is 0, and -ln P is math.inf"
)
two = sentence_nats(count_ngrams(train, 2), driving, 2)
assert nats < two < math.inf, "with n = 2 each word sees one word before it, and less is certain"
print("Right: the car costs", round(nats, 2), "nats, and the cat is impossible.")

# %% [markdown]
# ## 3. Perplexity
#
# How good is a model? Let it read sentences that it has not seen, and average the surprisal over
# all words. The exponential of that average is the **perplexity**:
#
# $$\mathrm{PP} = \exp\Big(-\frac{1}{N} \sum_{t=1}^{N} \ln P(w_t \mid \text{context})\Big)$$
#
# It is the number of equally probable words that would leave one as uncertain. A model that knows
# nothing of a vocabulary of $V$ words has perplexity $V$; one that knows what comes has 1. Two
# perplexities compare only over the same words.
#
# **Exercise 1.2.** Write it. The argument has the probability that a model gave to each word.


# %% tags=["exercise", "raises-exception"]
# Exercise 1.2: perplexity
def perplexity(probabilities):
    """Return the perplexity of a text whose words had these probabilities, numbers above 0."""
    raise NotImplementedError("Exercise 1.2: exp of the mean of -ln P")


# %% tags=["check", "raises-exception"]
fair_die = perplexity([1 / 6] * 10)
assert math.isclose(fair_die, 6), f"a fair die has perplexity 6, and yours is {fair_die:.3f}"
assert math.isclose(perplexity([1.0, 1.0]), 1), "what is certain has perplexity 1"
mixed = perplexity([0.5, 0.125])
assert math.isclose(mixed, 4), f"of 1/2 and 1/8 the perplexity is 4, and yours is {mixed:.3f}"
print("Right: a fair die is as uncertain as", round(fair_die), "equally probable words.")

# %% [markdown]
# Here is perplexity on the training text, by how much context the model sees. It falls and falls.
# Is more context always better, then?


# %%
def mean_surprisal(sentences, follows, n):
    """Return the mean surprisal of all words in nats, and the share of words with probability 0."""
    shares = np.array(
        [
            probability(follows, words[t], context_of(words, t, n))
            for words in sentences
            for t in range(1, len(words))
        ]
    )
    with np.errstate(divide="ignore"):
        return -np.log(shares).mean(), (shares == 0).mean()


orders = [1, 2, 3, 4, 5, 6, 7]
on_train, unseen = [], []
for n in orders:
    follows = count_ngrams(train, n)
    on_train.append(math.exp(mean_surprisal(train, follows, n)[0]))
    unseen.append(100 * mean_surprisal(test, follows, n)[1])

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
left.plot(orders, on_train, "o-", color="#0072B2")
left.set(xlabel="n", ylabel="perplexity", title="On sentences it has counted", ylim=(0, None))
right.bar(orders, unseen, color="#D55E00")
right.set(xlabel="n", ylabel="words in %", title="New sentences: words with P = 0")
plt.show()

# %% [markdown]
# On *new* sentences a single word with $P = 0$ makes the whole text impossible and the perplexity
# infinite. The longer the context, the more often this happens: most long contexts were never
# counted. The small language has some thirty words. Real text is worse.
#
# ## 4. Why counts run out
#
# The standard library of Python is a text of four megabytes that everybody has who runs this
# notebook. We cut the first part of it into words and signs, count on one part, and look for the
# n-grams of another part.

# %%
import re

from unroll.data.sources import stdlib_corpus

python = stdlib_corpus().data.decode()
tokens = re.findall(r"\w+|[^\w\s]", python)[:400_000]
held_out, tokens = tokens[:20_000], tokens[20_000:]
vocabulary = len(set(tokens))
print("some of it:", " ".join(tokens[1000:1012]))
print(f"{len(tokens):,} words and signs, {vocabulary:,} different ones")
for n in (1, 2, 3, 4):
    seen = len(set(zip(*(tokens[k:] for k in range(n)), strict=False)))
    print(f"n = {n}: {seen:,} n-grams occur, of {float(vocabulary) ** n:.0e} that could")

# %%
sizes = [2**k for k in range(10, 19)]
figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
for n in (1, 2, 3, 4, 5):
    ngrams = list(zip(*(tokens[k:] for k in range(n)), strict=False))
    asked = list(zip(*(held_out[k:] for k in range(n)), strict=False))
    new = []
    for size in sizes:
        seen = set(ngrams[:size])
        new.append(100 * np.mean([ngram not in seen for ngram in asked]))
    axes.plot(sizes, new, "o-", label=f"n = {n}")
axes.set(xscale="log", xlabel="words counted", ylabel="never seen, in %", ylim=(0, 100))
axes.set_title("n-grams of new text that were never counted")
axes.legend(frameon=False, ncols=5, loc="lower left")
plt.show()

# %% [markdown]
# More text helps the short n-grams and hardly the long ones: what could occur grows as $V^n$, and
# what does occur only as fast as somebody writes. This is the **curse of dimensionality** (Bengio
# et al. 2003). There is no text large enough to count all contexts of ten words.
#
# ## 5. Something for what was never seen
#
# The oldest remedy (Laplace) pretends to have seen every word $k$ more times in every context:
#
# $$P_k(w \mid h) = \frac{c(h\,w) + k}{c(h) + k V}$$
#
# **Exercise 1.3.** Write it. All words together must have probability 1, after any context, and
# after one that was never seen all are equally probable.


# %% tags=["exercise", "raises-exception"]
# Exercise 1.3: k more of everything
def smoothed(follows, word, context, vocab_size, k):
    """Return P(word | context) with k added to the count of each of vocab_size words."""
    raise NotImplementedError("Exercise 1.3: add k above, and below what makes the sum 1")


# %% tags=["check", "raises-exception"]
words_known = sorted({word for words in train for word in words[1:]})
for context in (("driving", "a"), ("a", "cat"), ("never", "seen")):
    for k in (1, 0.1):
        total = sum(smoothed(three, w, context, len(words_known), k) for w in words_known)
        assert math.isclose(total, 1), (
            f"after {' '.join(context)} with k = {k} all words together have {total:.3f}, not 1"
        )
assert smoothed(three, "cat", ("driving", "a"), len(words_known), 1) > 0, "a cat is possible now"
unsmoothed = smoothed(three, "car", ("driving", "a"), len(words_known), 0)
assert math.isclose(unsmoothed, probability(three, "car", ("driving", "a"))), (
    "with k = 0 it is the share of counts, as before"
)
print("Right: the sums are 1, and the cat has a chance.")

# %% [markdown]
# Better remedies look at shorter contexts where the long one is rare. The best of them is the
# interpolated, modified **Kneser-Ney** n-gram (Kneser & Ney 1995; Chen & Goodman 1998), which
# `unroll.ngram` counts. It takes a text file, here one sentence a line, and writes a model
# directory; `unroll.score` then says how probable a text is.

# %%
runs = Path("runs")
runs.mkdir(exist_ok=True)
for name, sentences in (("train", train), ("test", test)):
    lines = (" ".join(words[1:-1]) for words in sentences)
    (runs / f"{name}.txt").write_text("\n".join(lines) + "\n")
for _ in unroll.ngram(runs / "train.txt", order=3, level="word", out=runs / "words", force=True):
    pass

for text in ("John is driving a car", "John is driving a cat", "car a driving is John"):
    (scored,) = unroll.score(runs / "words", text, eos=True)
    print(f"{scored.nats:5.1f} nats, P = {math.exp(-scored.nats):.1e}: {text}")
for likely in unroll.next_symbols(runs / "words", "John is driving a", top=5).likely:
    print(f"… {likely.token}: {likely.probability:.3f}")

# %% [markdown]
# The car is likely, the cat is possible, and a heap of words is no sentence. Now the perplexity of
# the 500 new sentences, which is finite at last:

# %%
perplexities = {"k = 1": [], "k = 0.01": [], "Kneser-Ney": []}
for n in orders:
    follows = count_ngrams(train, n)
    for name, k in (("k = 1", 1.0), ("k = 0.01", 0.01)):
        nats = []
        for words in test:
            for t in range(1, len(words)):
                counter = follows.get(context_of(words, t, n), Counter())
                share = (counter[words[t]] + k) / (counter.total() + k * len(counts))
                nats.append(-math.log(share))
        perplexities[name].append(math.exp(np.mean(nats)))
    folder = runs / f"order{n}"
    for _ in unroll.ngram(runs / "train.txt", order=n, level="word", out=folder, force=True):
        pass
    figures = unroll.evaluate(folder, runs / "test.txt", "lines")
    perplexities["Kneser-Ney"].append(figures["perplexity"])

figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
for (name, values), style in zip(perplexities.items(), ("s:", "^--", "ko-"), strict=True):
    axes.plot(orders[1:], values[1:], style, label=name)
axes.set(xlabel="n", ylabel="perplexity", ylim=(2, None))
axes.set_title("New sentences, by context and remedy")
axes.legend(frameon=False)
plt.show()
print(f"single words: {perplexities['Kneser-Ney'][0]:.1f}", end=", ")
print(f"the best: {min(perplexities['Kneser-Ney']):.2f}, Kneser-Ney")

# %% [markdown]
# Beyond three words nothing is gained, and careless smoothing loses what two words knew: it gives
# away too much after contexts that were seen once.
#
# ## 6. Characters
#
# The same counts work on characters: the vocabulary is small, so longer contexts can be counted.
# We give the model 600 kilobytes of Python and hold a tenth of it back.

# %%
(runs / "python.txt").write_text(python[:600_000])
lengths = [1, 2, 3, 4, 6, 8, 10]
bits = []
for n in lengths:
    folder = runs / f"python{n}"
    training = unroll.ngram(
        runs / "python.txt", order=n, level="char", split="90/10", out=folder, force=True
    )
    for _ in training:
        pass
    bits.append(unroll.info(folder)["valid_nats_per_token"] / math.log(2))

figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
axes.plot(lengths, bits, "o-", color="#0072B2")
axes.set(xlabel="n", ylabel="bits per character", ylim=(0, None))
axes.set_title("Held-out Python, by how many characters the model counts together")
plt.show()

# %% [markdown]
# A text is drawn from a model one symbol after another, each from $P(\cdot \mid \text{context})$.
# What the context cannot hold is missing from the text: with two characters there are hardly
# words, with four there are words, with ten there are pieces of lines, many of them copied.

# %% tags=["varies"]
for n in (2, 4, 10):
    drawn = unroll.sample(runs / f"python{n}", prompt="def ", length=160, temperature=1, seed=2)
    print(f"--- n = {n}\ndef {''.join(symbol.text for symbol in drawn)}\n")

# %% [markdown]
# ## 7. What counts do not know
#
# One more language, with one rule: machines need *fuel*, living things need *food*. Sixteen nouns
# and sixteen adjectives make 256 sentences. The model counts half of them, so that it has seen
# every noun and every adjective, and we ask about the others: *the tractor is red and needs …*

# %%
MACHINES = "car truck bus tractor train ship plane boat".split()
ANIMALS = "cat dog horse cow bird fish mouse goat".split()
ADJECTIVES = (
    "red blue old new big small quick slow heavy light clean strong quiet loud odd wet".split()
)
pairs = [(noun, adjective) for noun in MACHINES + ANIMALS for adjective in ADJECTIVES]
shuffled = [pairs[k] for k in np.random.default_rng(3).permutation(len(pairs))]
seen, unseen_pairs = shuffled[:128], shuffled[128:]


def need(noun):
    """Return what a noun needs."""
    return "fuel" if noun in MACHINES else "food"


lines = [f"the {noun} is {adjective} and needs {need(noun)}" for noun, adjective in seen]
(runs / "needs.txt").write_text("\n".join(lines) + "\n")
for _ in unroll.ngram(runs / "needs.txt", order=6, level="word", out=runs / "needs", force=True):
    pass

figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
for questions, colour, label in (
    (seen, "#0072B2", "counted sentences"),
    (unseen_pairs, "#D55E00", "new sentences"),
):
    right = []
    for noun, adjective in questions:
        text = f"the {noun} is {adjective} and needs"
        likely = unroll.next_symbols(runs / "needs", text, top=100).likely
        right.append(next(word.probability for word in likely if word.token == need(noun)))
    axes.plot(sorted(right, reverse=True), ".", color=colour, label=label)
    print(f"{label}: P(what it needs) = {np.mean(right):.2f} on average")
axes.axhline(0.5, color="grey", ls="--", lw=1)
axes.set(xlabel="sentences, sorted", ylabel="P(what it needs)", ylim=(0, 1))
axes.set_title("A 6-gram sees the noun, and cannot use it in a new sentence")
axes.legend(frameon=False, loc="lower left")
plt.show()

# %% [markdown]
# After *tractor is red and needs* there is nothing to count. The model falls back on *is red and
# needs*, which says nothing about tractors: it guesses. To a table of counts, *tractor* and
# *truck* are two different entries, as different as *tractor* and *goat*. A model that knows that
# two words are **similar** would need far less text. That is the idea of the next session.
#
# ## What to remember
#
# - A language model says $P(\text{next} \mid \text{before})$; the chain rule makes sentences of it.
# - Perplexity is $\exp$ of the mean surprisal on text that the model has not seen.
# - An n-gram sees $n-1$ symbols. With more it has nothing to count.
#
# ## Sources
#
# - C. Shannon (1948). *A mathematical theory of communication.*
# - R. Kneser, H. Ney (1995). *Improved backing-off for m-gram language modeling.*
# - S. Chen, J. Goodman (1998). *An empirical study of smoothing techniques for language modeling.*
# - Y. Bengio, R. Ducharme, P. Vincent, C. Jauvin (2003). *A neural probabilistic language model.*
# - D. Jurafsky, J. Martin. *Speech and Language Processing*, chapter 3.
