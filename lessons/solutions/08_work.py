# %%
# Exercise 8.1
def confusion(true, predicted, labels):
    """Return counts (labels, labels): row t, column p for true label t predicted as p."""
    table = np.zeros((labels, labels), int)
    for t, p in zip(true, predicted, strict=True):
        table[t, p] += 1
    return table


# %%
# Exercise 8.2
def frequent_tags(sentences):
    """Return {word: tag} from pairs (words, tags): each word's most frequent tag."""
    counts = defaultdict(Counter)
    for words, tags in sentences:
        for word, tag in zip(words, tags, strict=True):
            counts[word][tag] += 1
    return {word: tags.most_common(1)[0][0] for word, tags in counts.items()}


# %%
# Exercise 8.3
def attend(queries, keys, values):
    """Return contexts (T, D) and weights (T, S): queries (T, H), keys (S, H), values (S, D)."""
    scores = queries @ keys.T
    weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    return weights @ values, weights
