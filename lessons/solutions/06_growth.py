# %%
# Exercise 6.1
from itertools import pairwise


def known_pairs(text, training):
    """Return the share of the pairs of neighbouring words of a text that the training text has."""
    own, theirs = words(text), words(training)
    known = set(pairwise(theirs))
    return np.mean([pair in known for pair in pairwise(own)])


# %%
# Exercise 6.2
def probabilities(logits, temperature):
    """Return the softmax (V,) of logits (V,) / T; at T = 0 all on the largest."""
    if temperature == 0:
        return np.eye(len(logits))[np.argmax(logits)]
    p = np.exp((logits - np.max(logits)) / temperature)
    return p / p.sum()


# %%
# Exercise 6.3
def novelty(sample, training, n):
    """Return the share of the sample's n-grams of characters that the training text has not."""
    pieces = [sample[k : k + n] for k in range(len(sample) - n + 1)]
    return np.mean([piece not in training for piece in pieces])
