# %% [markdown]
# # Solutions of session 3


# %%
# Exercise 3.1
def total_loss(inputs, targets, w, h):
    p = predict(read(inputs, w, h), w)
    return -np.log(p[np.arange(len(targets)), targets]).sum()


# %%
# Exercise 3.2
def truncated(inputs, targets, w, h, k):
    total = {name: np.zeros_like(weight) for name, weight in w.items()}
    for start in range(0, len(inputs), k):
        gradient, h = bptt(inputs[start : start + k], targets[start : start + k], w, h)
        for name in total:
            total[name] += gradient[name]
    return total


# %%
# Exercise 3.3
def last_states(rows, lengths, w):
    fresh = np.zeros(len(w["b"]))
    return np.array(
        [read(row[:length], w, fresh)[-1] for row, length in zip(rows, lengths, strict=True)]
    )
