# %% [markdown]
# # 8 · Put it to work: classify, tag, translate
#
# A recurrent network reads a sequence of any length with the same weights, and has something to
# say at every step. What you make of it depends on which of its outputs you use (Karpathy 2015):
#
# | | in | out | example |
# |---|---|---|---|
# | one to many | a label or a picture | a sequence | write in the style of a label |
# | many to one | a sequence | a label | **classify** |
# | many to many, in step | a sequence | a label for each step | **tag** |
# | many to many | a sequence | another sequence, of another length | **translate** |
#
# In this session you do the three in bold: handwritten digits, parts of speech, and numbers and
# dates from English into German. The translator shows what it looks at while it writes.

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

from collections import Counter, defaultdict
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import unroll

plt.rcParams |= {"figure.dpi": 72, "axes.spines.top": False, "axes.spines.right": False}
plt.rcParams |= {"figure.constrained_layout.use": True, "font.size": 9}
BLUE, ORANGE, GREEN, PINK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#555555"
Path("runs").mkdir(exist_ok=True)

# %% [markdown]
# ## 1. Many to one: classify
#
# scikit-learn brings 1,797 digits of 8 × 8 pixels, written by 13 people. We let the network read a
# digit as one reads a page, **row by row**: a sequence of 8 steps, each a vector of 8 numbers.

# %% alt="Ten digits, each 8 by 8 pixels"
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

digits = load_digits()
images = digits.images / 16  # (1797, 8, 8): sequences of 8 steps with 8 channels
train_x, test_x, train_y, test_y = train_test_split(
    images, digits.target, test_size=0.25, random_state=0, stratify=digits.target
)
figure, panels = plt.subplots(1, 10, figsize=(9, 1.3))
for label, axes in enumerate(panels):
    axes.imshow(train_x[train_y == label][0], cmap="Greys")
    axes.set_title(str(label))
    axes.axis("off")
plt.show()

# %% [markdown]
# The encoder reads in both directions. Its outputs are pooled into one vector, and a linear layer
# with a softmax makes ten probabilities of it:
#
# $$ p(y \mid x_1 \dots x_T) = \mathrm{softmax}\big(W\,\mathrm{pool}(h_1, \dots, h_T) + b\big). $$
#
# `unroll.sklearn` has it as an estimator with `fit` and `predict`. (The command is
# `unroll sequences`; for texts, `unroll classify`.)

# %%
from unroll.sklearn import SequenceClassifier

reader = SequenceClassifier(
    steps=250, settings={"hidden_size": 48, "batch_size": 32, "threads": 1}, random_state=0
)
reader.fit(train_x, train_y)
predicted = reader.predict(test_x)
print(f"{np.mean(predicted == test_y):.1%} of {len(test_y)} test digits are right")

# %% [markdown]
# **Exercise 8.1.** One number hides what goes wrong. Count a *confusion matrix*: row = the true
# label, column = the predicted one. (Do it by hand; scikit-learn's own is the check's answer.)


# %% tags=["exercise", "raises-exception"]
# Exercise 8.1: which label is taken for which
def confusion(true, predicted, labels):
    """Return counts (labels, labels): row t, column p for true label t predicted as p."""
    raise NotImplementedError("Exercise 8.1: write confusion")


confusion([0, 1], [0, 1], 2)

# %% tags=["check", "raises-exception"]
table = np.asarray(confusion([0, 0, 1, 2, 2, 2], [0, 1, 1, 0, 0, 2], 3))
assert table.shape == (3, 3), f"three labels make a table of 3 by 3, not {table.shape}"
assert table.sum() == 6, f"six examples were counted as {table.sum()}"
assert table[2, 0] == 2 and table[0, 2] == 0, (
    "two examples of label 2 were predicted as 0: they belong in row 2, column 0"
)
assert (table == [[1, 1, 0], [0, 1, 0], [2, 0, 1]]).all(), f"expected other counts than\n{table}"
print("Right: rows are true, columns predicted")

# %%
from sklearn.metrics import confusion_matrix

counts = confusion_matrix(test_y, predicted)
figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.4))
left.imshow(np.log1p(counts), cmap="Blues")
for (t, p), count in np.ndenumerate(counts):
    if count:
        left.text(p, t, count, ha="center", va="center", color="white" if t == p else "black")
left.set_xticks(range(10))
left.set_yticks(range(10))
left.set_xlabel("predicted")
left.set_ylabel("true")
left.set_title("Which digit is taken for which", loc="left")

# The network takes sequences of any length: what does it say after the first rows?
shares = [np.mean(reader.predict(test_x[:, :rows]) == test_y) for rows in range(1, 9)]
right.plot(range(1, 9), [100 * share for share in shares], color=BLUE, marker="o")
right.axhline(10, color=GREY, ls=":", lw=1)
right.set_ylim(0, 104)
right.set_xlabel("rows read, from the top")
right.set_ylabel("% right (10 is guessing)")
right.set_title("How soon does it know?", loc="left")
plt.show()

# %% [markdown]
# Any input length with the same weights: the network never saw half a digit in training, and still
# reads one. It is best where it was trained, on all eight rows.

# %% [markdown]
# ## 2. Many to many in step: tag
#
# *They fish.* *The fish can swim.* The same word is a verb here and a noun there; what decides is
# the context. A small grammar makes such sentences: twelve of its words are both noun and verb,
# and *light* is an adjective as well.

# %% tags=["setup"]
BOTH, NOUNS, VERBS, ADJECTIVES = map(
    str.split,
    (
        "book cook fish fly light love park plant play walk watch water",
        "boat child doctor dog house king letter tree",
        "bring buy draw find like see sell want",
        "big cold light new old red small",
    ),
)


def sentence(random):
    """Return the words of a sentence and their tags."""

    def noun_phrase():
        noun = random.choice(BOTH if random.random() < 0.6 else NOUNS)
        words, tags = [random.choice(["the", "a", "every"])], ["DET"]
        if random.random() < 0.4:
            words.append(random.choice(ADJECTIVES))
            tags.append("ADJ")
        return [*words, noun], [*tags, "NOUN"]

    verb = random.choice(BOTH if random.random() < 0.6 else VERBS)
    words, tags = ([random.choice(["they", "we", "you"])], ["PRON"])
    if random.random() < 0.5:
        words, tags = noun_phrase()
        words, tags = [*words, random.choice(["can", "will"])], [*tags, "AUX"]
    elif random.random() < 0.4:
        words, tags = [*words, random.choice(["can", "will"])], [*tags, "AUX"]
    thing, thing_tags = noun_phrase()
    words, tags = [*words, verb, *thing], [*tags, "VERB", *thing_tags]
    if random.random() < 0.3:
        place, place_tags = noun_phrase()
        words, tags = [*words, "near", *place], [*tags, "ADP", *place_tags]
    return [str(word) for word in [*words, "."]], [*tags, "PUNCT"]


random = np.random.default_rng(0)
training = [sentence(random) for _ in range(600)]
testing = [sentence(random) for _ in range(200)]

# %%
for words, tags in training[:4]:
    print(" ".join(f"{word}/{tag}" for word, tag in zip(words, tags, strict=True)))

# %% [markdown]
# A file for `train_tagger` has one token and its tag in each line, and an empty line between
# sentences. Before the network, the baseline that every tagger must beat.
#
# **Exercise 8.2.** Write the baseline: give each word the tag that it had most often in training.


# %% tags=["exercise", "raises-exception"]
# Exercise 8.2: the most frequent tag of each word
def frequent_tags(sentences):
    """Return {word: tag} from pairs (words, tags): each word's most frequent tag."""
    raise NotImplementedError("Exercise 8.2: write frequent_tags")


frequent_tags(training)

# %% tags=["check", "raises-exception"]
small = [
    (["we", "fish"], ["PRON", "VERB"]),
    (["the", "fish", "swims"], ["DET", "NOUN", "VERB"]),
    (["a", "fish"], ["DET", "NOUN"]),
    (["the", "fish"], ["DET", "NOUN"]),
    (["they", "fish"], ["PRON", "VERB"]),
]
frequent = frequent_tags(small)
assert isinstance(frequent, dict), f"return a dictionary, not {type(frequent).__name__}"
assert set(frequent) == {word for words, _ in small for word in words}, "each word has an entry"
assert frequent["the"] == "DET", f"“the” is always DET, not {frequent['the']}"
assert frequent["fish"] == "NOUN", f"“fish” is NOUN 3 times and VERB twice, not {frequent['fish']}"
frequent = frequent_tags(training)
hits = [
    frequent[w] == t for ws, ts in testing for w, t in zip(ws, ts, strict=True) if w in frequent
]
print(f"Right: this baseline gets {np.mean(hits):.1%} of {len(hits):,} test tokens")

# %% alt="Bars: the share of tags that are right, by the most frequent tag and by the network"
counts = defaultdict(Counter)
for words, tags in training:
    for word, tag in zip(words, tags, strict=True):
        counts[word][tag] += 1
baseline = {word: tags.most_common(1)[0][0] for word, tags in counts.items()}
Path("runs/sentences.txt").write_text(
    "\n\n".join(
        "\n".join(f"{word}\t{tag}" for word, tag in zip(words, tags, strict=True))
        for words, tags in training
    )
    + "\n"
)
settings = {"hidden_size": 32, "threads": 1}
for _ in unroll.train_tagger(
    "runs/sentences.txt", steps=200, settings=settings, seed=0, out="runs/tagger", force=True
):
    pass

said = unroll.tag("runs/tagger", [words for words, _ in testing])
tokens = [
    (token["token"], tag, token["tag"])
    for answer, (_, tags) in zip(said, testing, strict=True)
    for token, tag in zip(answer["tokens"], tags, strict=True)
]


def share(rows):
    """Return the shares in % that the baseline and the network get right."""
    return [
        100 * np.mean([baseline[word] == tag for word, tag, _ in rows]),
        100 * np.mean([network == tag for _, tag, network in rows]),
    ]


groups = {
    "all tokens": tokens,
    "ambiguous words": [row for row in tokens if len(counts[row[0]]) > 1],
}
figure, axes = plt.subplots(figsize=(7, 2.4))
for k, (name, colour) in enumerate((("most frequent tag", GREY), ("the network", BLUE))):
    shares = [share(rows)[k] for rows in groups.values()]
    bars = axes.barh(np.arange(2) - 0.2 + 0.4 * k, shares, 0.38, color=colour, label=name)
    axes.bar_label(bars, fmt="%.1f %%", padding=3)
axes.set_yticks(range(2), groups)
axes.invert_yaxis()
axes.set_xlim(0, 150)
axes.set_xlabel("% right")
axes.legend(frameon=False, loc="upper right")
plt.show()

# %% [markdown]
# It has learnt the context, not the words. So it should be able to tag words that it has never
# seen: *blick* and *wug* are none of ours (the *wug* is Jean Berko's, 1958). What it gets wrong
# shows how far its context reaches.

# %% tags=["varies"]
for answer in unroll.tag("runs/tagger", ["they fish the old wug .", "a wug will blick the fish ."]):
    print(" ".join(f"{token['token']}/{token['tag']}" for token in answer["tokens"]))

# %% [markdown]
# **Why a noun?** `attribute_tagger` hides each word in turn and says how much the tag loses:
# leave-one-out, in nats of its log-probability.

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 2.6), sharey=True)
for axes, text in zip(
    panels, ("they fish the old boat .", "every fish will like the boat ."), strict=True
):
    why = unroll.attribute_tagger("runs/tagger", text, at=2)
    scores = why.scores
    axes.bar(range(len(scores)), scores, color=[ORANGE if s > 0 else BLUE for s in scores])
    axes.axhline(0, color=GREY, lw=0.7)
    axes.set_xticks(range(len(scores)), why.symbols)
    axes.set_title(f"“fish” is {why.target}: what each word does for it", loc="left")
panels[0].set_ylabel("nats")
plt.show()

# %% [markdown]
# ## 3. Many to many: translate
#
# Two sequences of different length. An **encoder** reads the source; a **decoder** writes the
# target word by word (Sutskever, Vinyals & Le 2014). Our two languages are English and German, and
# all they talk about is numbers and dates. German says its ones before its tens: *twenty-one* is
# *einundzwanzig*, one-and-twenty. So the order changes, and the translator has to learn where to
# look. (We write such words in their parts, *ein und zwanzig*, so that each part is a unit.)

# %% tags=["setup"]
ONES, TENS, EINS, ZEHN, MONTHS, MONATE = map(
    str.split,
    (
        "zero one two three four five six seven eight nine ten eleven twelve thirteen "
        "fourteen fifteen sixteen seventeen eighteen nineteen",
        "twenty thirty forty fifty sixty seventy eighty ninety",
        "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn "
        "vierzehn fünfzehn sechzehn siebzehn achtzehn neunzehn",
        "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
        "January February March April May June July August September October November December",
        "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    ),
)


def english(n):
    """Return a number below 1000 in English."""
    if n >= 100:
        return f"{ONES[n // 100]} hundred" + (f" {english(n % 100)}" if n % 100 else "")
    return ONES[n] if n < 20 else TENS[n // 10 - 2] + (f" {ONES[n % 10]}" if n % 10 else "")


def german(n):
    """Return the same in German, in its parts: ones before tens."""
    if n >= 100:
        hundreds = "ein" if n < 200 else EINS[n // 100]
        return f"{hundreds} hundert" + (f" {german(n % 100)}" if n % 100 else "")
    if n < 20 or n % 10 == 0:
        return EINS[n] if n < 20 else ZEHN[n // 10 - 2]
    return ("ein" if n % 10 == 1 else EINS[n % 10]) + f" und {ZEHN[n // 10 - 2]}"


def pair(random):
    """Return a number below 1000 or a date, in English and in German."""
    if random.random() < 0.7:
        n = int(random.integers(1000))
        return english(n), german(n)
    day, month = random.integers(1, 29), random.integers(12)
    return f"{MONTHS[month]} {day}", f"{day} . {MONATE[month]}"


# %%
random = np.random.default_rng(0)
pairs = list(dict.fromkeys(pair(random) for _ in range(6000)))
test, training_pairs = pairs[:200], pairs[200:]
for source, target in test[:5]:
    print(f"{source:30} {target}")
print(f"{len(training_pairs):,} pairs to learn from, {len(test)} others to be tested on")

# %% [markdown]
# Without help, the decoder has to work from one vector, the encoder's last state. **Attention**
# (Bahdanau, Cho & Bengio 2015) lets each step look back at all outputs $y_1 \dots y_S$ of the
# encoder. The decoder's state $h_t$ asks, each $y_j$ answers with a score, a softmax makes weights
# of the scores, and what is read is the mean:
#
# $$ a_{tj} = \frac{\exp(\mathrm{score}(h_t, y_j))}{\sum_k \exp(\mathrm{score}(h_t, y_k))}, \qquad
# c_t = \sum_j a_{tj}\, y_j . $$
#
# The score comes from a small network, $v^\top \tanh(W_q h_t + W_a y_j + b)$ (*additive*, as in
# that paper), or simply from a product, $h_t^\top W y_j$ (*dot*; Luong, Pham & Manning 2015).
#
# **Exercise 8.3.** Write the product form in numpy. `keys` are the $W y_j$.


# %% tags=["exercise", "raises-exception"]
# Exercise 8.3: attention
def attend(queries, keys, values):
    """Return contexts (T, D) and weights (T, S): queries (T, H), keys (S, H), values (S, D)."""
    raise NotImplementedError("Exercise 8.3: write attend")


attend(np.zeros((2, 3)), np.zeros((4, 3)), np.zeros((4, 5)))

# %% tags=["check", "raises-exception"]
local = np.random.default_rng(5)
q, k, v = local.normal(size=(2, 3)), local.normal(size=(4, 3)), local.normal(size=(4, 5))
contexts, weights = attend(q, k, v)
assert np.shape(weights) == (2, 4), (
    f"2 queries over 4 places: weights (2, 4), not {np.shape(weights)}"
)
assert np.allclose(np.sum(weights, axis=1), 1), (
    f"each query's weights sum to 1 over the places of the source, not to {np.sum(weights, axis=1)}"
)
ratio = np.exp((q[0] @ k[0]) - (q[0] @ k[1]))
assert np.isclose(weights[0, 0] / weights[0, 1], ratio), "weights are a softmax: exp of the scores"
assert np.shape(contexts) == (2, 5), f"contexts are (2, 5), not {np.shape(contexts)}"
assert np.allclose(contexts[1], sum(weights[1, j] * v[j] for j in range(4))), (
    "a context is the mean of the values by their weights"
)
_, sharp = attend(1000 * q, k, v)
assert np.isfinite(sharp).all(), "large scores overflow exp: subtract the largest score first"
print("Right: a softmax over the source, and a weighted mean")

# %% [markdown]
# Two translators, equal but for the attention.

# %%
Path("runs/train.en").write_text("".join(f"{source}\n" for source, _ in training_pairs))
Path("runs/train.de").write_text("".join(f"{target}\n" for _, target in training_pairs))
settings = {
    "embedding_size": 48,
    "encoder_size": 48,
    "hidden_size": 96,
    "batch_size": 32,
    "learning_rate": 0.02,
    "tie_weights": False,
    "dropout": 0.0,
    "input_dropout": 0.0,
    "label_smoothing": 0.0,
    "threads": 1,
}
figure, axes = plt.subplots(figsize=(7, 2.6))
for attention, colour in (("additive", BLUE), ("none", ORANGE)):
    reports = unroll.train_translator(
        "runs/train.en",
        "runs/train.de",
        level="word",
        attention=attention,
        steps=600,
        settings=settings | {"valid_every": 100},
        seed=0,
        device="cpu",
        out=f"runs/{attention}",
        force=True,
    )
    valid = [r for r in reports if getattr(r, "kind", "") == "valid"]
    axes.plot([r.step for r in valid], [r.nats for r in valid], color=colour, label=attention)
axes.set_yscale("log")
axes.set_xlabel("steps")
axes.set_ylabel("nats per word")
axes.set_title("Validation loss, with attention and without", loc="left")
axes.legend(frameon=False, title="attention")
plt.show()

# %% tags=["varies"]
sources, targets = [source for source, _ in test], [target for _, target in test]
right = {}
for attention in ("additive", "none"):
    answers = unroll.translate(f"runs/{attention}", sources, beam=1)
    written = [answer["translations"][0]["text"] for answer in answers]
    right[attention] = np.array([a == b for a, b in zip(written, targets, strict=True)])
    correct = np.mean(right[attention])
    print(f"attention {attention}: {correct:.1%} of {len(test)} are right, word for word")
    wrong = [(s, w) for s, w, ok in zip(sources, written, right[attention], strict=True) if not ok]
    for source, text in wrong[:3]:
        print(f"    {source} -> {text}")

# %% [markdown]
# ### What it looks at while it writes
#
# Each row of the picture is a word of the translation, each column a word of the source. Dark is
# where the decoder looked just before it wrote. Follow the rows from top to bottom.

# %% alt="What the network attends to while it writes two answers"
figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), width_ratios=[1.4, 1])
for axes, text in zip(panels, ("seven hundred eighty four", "March 21"), strict=True):
    (answer,) = unroll.translate("runs/additive", [text], attention=True)
    seen = answer["translations"][0]["attention"]
    axes.imshow(np.array(seen["weights"]), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(seen["source"])), [s.strip() for s in seen["source"]])
    rows = [*(s.strip() for s in seen["target"][:-1]), "end"]
    axes.set_yticks(range(len(rows)), rows)
    axes.set_title(answer["translations"][0]["text"], loc="left")
plt.show()

# %% [markdown]
# The order of the languages differs, and the dark fields with it: for *vier* the decoder looks at
# the end of the English number, for *achtzig* one word back; in the date it takes the day before
# the month. Nobody has told it so: the weights were learnt from pairs alone. And they are only
# where it *looked*. What made it write a word is another question, which `attribute_translator`
# answers.
#
# ## What you have seen
#
# * One network, three uses: pool the outputs and you classify; keep them all and you tag; hand them
#   to a second network and you translate.
# * A tagger decides by context: it is right where the most frequent tag cannot be, and on words
#   that it has never seen.
# * Attention turns one vector for a whole text into one look for each step, and the looks can be
#   drawn.
#
# With your own data, on the command line:
#
# ```console
# $ unroll classify train reviews.csv --text text --label stars
# $ unroll tag train sentences.conllu
# $ unroll translate train train.en train.de
# $ unroll sequences train readings.csv --target label
# ```
#
# ## Sources
#
# * A. Karpathy: The unreasonable effectiveness of recurrent neural networks. 2015.
# * I. Sutskever, O. Vinyals, Q. Le: Sequence to sequence learning with neural networks. NIPS 2014.
# * D. Bahdanau, K. Cho, Y. Bengio: Neural machine translation by jointly learning to align and
#   translate. ICLR 2015.
# * M.-T. Luong, H. Pham, C. Manning: Effective approaches to attention-based neural machine
#   translation. EMNLP 2015.
# * J. Berko: The child's learning of English morphology. *Word* 14, 1958.
