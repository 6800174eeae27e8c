# %%
# Exercise 3.1: the mean
def total_loss(inputs, targets, w, h):
    p = predict(read(inputs, w, h), w)
    return -np.log(p[np.arange(len(targets)), targets]).mean()


# %%
# Exercise 3.1: only the last step
def total_loss(inputs, targets, w, h):
    return -np.log(predict(read(inputs, w, h), w)[-1, targets[-1]])


# %%
# Exercise 3.1: a fresh state instead of h
def total_loss(inputs, targets, w, h):
    p = predict(read(inputs, w, np.zeros_like(h)), w)
    return -np.log(p[np.arange(len(targets)), targets]).sum()


# %%
# Exercise 3.2: each piece begins afresh
def truncated(inputs, targets, w, h, k):
    total = {name: np.zeros_like(weight) for name, weight in w.items()}
    for start in range(0, len(inputs), k):
        gradient, _ = bptt(inputs[start : start + k], targets[start : start + k], w, h)
        for name in total:
            total[name] += gradient[name]
    return total


# %%
# Exercise 3.2: the last, shorter piece is left out
def truncated(inputs, targets, w, h, k):
    total = {name: np.zeros_like(weight) for name, weight in w.items()}
    for start in range(0, len(inputs) - k + 1, k):
        gradient, h = bptt(inputs[start : start + k], targets[start : start + k], w, h)
        for name in total:
            total[name] += gradient[name]
    return total


# %%
# Exercise 3.2: the gradient of the last piece alone
def truncated(inputs, targets, w, h, k):
    for start in range(0, len(inputs), k):
        gradient, h = bptt(inputs[start : start + k], targets[start : start + k], w, h)
    return gradient


# %%
# Exercise 3.3: the last column, filling included
def last_states(rows, lengths, w):
    return np.array([read(row, w, np.zeros(len(w["b"])))[-1] for row in rows])


# %%
# Exercise 3.3: one symbol too few
def last_states(rows, lengths, w):
    fresh = np.zeros(len(w["b"]))
    return np.array([read(row[: max(1, length - 1)], w, fresh)[-1] for row, length in zip(rows, lengths, strict=True)])


# %%
# Exercise 3.3: the state of one row goes into the next
def last_states(rows, lengths, w):
    h, states = np.zeros(len(w["b"])), []
    for row, length in zip(rows, lengths, strict=True):
        h = read(row[:length], w, h)[-1]
        states.append(h)
    return np.array(states)
