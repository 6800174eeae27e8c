# %%
# Exercise 7.1
def auroc(values, labels):
    """Return the AUROC of values (N,) for labels (N,) of 0 and 1."""
    above, below = values[labels == 1][:, None], values[labels == 0][None]
    return np.mean((above > below) + 0.5 * (above == below))


# %%
# Exercise 7.2
def effective_context(contexts, losses, full, share=0.99):
    """Return the smallest of `contexts` whose loss has fallen by that share of losses[0] - full."""
    losses = np.asarray(losses)
    enough = losses[0] - losses >= share * (losses[0] - full)
    return contexts[int(np.argmax(enough))]


# %%
# Exercise 7.3
def leave_one_out(score, symbols, blank="_"):
    """Return for each symbol how much score(symbols) falls when `blank` stands in its place."""
    whole = score(symbols)
    return [whole - score([*symbols[:k], blank, *symbols[k + 1 :]]) for k in range(len(symbols))]
