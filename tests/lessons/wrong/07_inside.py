# %%
# Exercise 7.1
def auroc(values, labels):
    """Let ties count nothing."""
    return np.mean(values[labels == 1][:, None] > values[labels == 0][None])


# %%
# Exercise 7.2
def effective_context(contexts, losses, full, share=0.99):
    """Take the share of the loss, not of the gain."""
    return contexts[int(np.argmax(np.asarray(losses) <= full / share))]


# %%
# Exercise 7.3
def leave_one_out(score, symbols, blank="_"):
    """Subtract the wrong way round."""
    whole = score(symbols)
    return [score([*symbols[:k], blank, *symbols[k + 1 :]]) - whole for k in range(len(symbols))]
