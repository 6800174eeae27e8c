# %%
# Exercise 6.1
from itertools import pairwise


def known_pairs(text, training):
    """Ask for both words of a pair, not for the pair."""
    own, known = words(text), set(words(training))
    return np.mean([a in known and b in known for a, b in pairwise(own)])


# %%
# Exercise 6.2
def probabilities(logits, temperature):
    """Multiply by the temperature."""
    p = np.exp((logits - np.max(logits)) * temperature)
    return p / p.sum()


# %%
# Exercise 6.3
def novelty(sample, training, n):
    """Cut the sample into pieces that do not overlap."""
    pieces = [sample[k : k + n] for k in range(0, len(sample) - n + 1, n)]
    return np.mean([piece not in training for piece in pieces])
