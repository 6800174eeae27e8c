# %%
# Exercise 1.1: without the end of the sentence
def sentence_nats(follows, words, n):
    nats = 0.0
    for t in range(1, len(words) - 1):
        share = probability(follows, words[t], context_of(words, t, n))
        nats += -math.log(share) if share else math.inf
    return nats


# %%
# Exercise 1.1: a context that is too short by one word
def sentence_nats(follows, words, n):
    nats = 0.0
    for t in range(1, len(words)):
        share = probability(follows, words[t], context_of(words, t, n - 1))
        nats += -math.log(share) if share else math.inf
    return nats


# %%
# Exercise 1.1: an unseen word costs nothing
def sentence_nats(follows, words, n):
    shares = [probability(follows, words[t], context_of(words, t, n)) for t in range(1, len(words))]
    return -sum(math.log(share) for share in shares if share)


# %%
# Exercise 1.2: the inverse of the mean probability
def perplexity(probabilities):
    return 1 / np.mean(probabilities)


# %%
# Exercise 1.2: the sum instead of the mean
def perplexity(probabilities):
    return math.exp(-sum(math.log(p) for p in probabilities))


# %%
# Exercise 1.3: one more below, instead of one for each word
def smoothed(follows, word, context, vocab_size, k):
    counter = follows.get(context, Counter())
    return (counter[word] + k) / (counter.total() + k)


# %%
# Exercise 1.3: V added without k
def smoothed(follows, word, context, vocab_size, k):
    counter = follows.get(context, Counter())
    return (counter[word] + k) / (counter.total() + vocab_size)
