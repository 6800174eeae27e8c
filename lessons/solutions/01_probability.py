# %% [markdown]
# # Solutions of session 1


# %%
# Exercise 1.1
def sentence_nats(follows, words, n):
    nats = 0.0
    for t in range(1, len(words)):
        share = probability(follows, words[t], context_of(words, t, n))
        nats += -math.log(share) if share else math.inf
    return nats


# %%
# Exercise 1.2
def perplexity(probabilities):
    return math.exp(-np.mean(np.log(probabilities)))


# %%
# Exercise 1.3
def smoothed(follows, word, context, vocab_size, k):
    counter = follows.get(context, Counter())
    return (counter[word] + k) / (counter.total() + k * vocab_size)
