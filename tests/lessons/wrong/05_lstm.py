# %%
# Exercise 5.1
def forget_bias(half_life):
    """Return the gate itself, not its bias."""
    return 0.5 ** (1 / half_life)


# %%
# Exercise 5.2
def contributions(i, f, g):
    """Let each step's own forget gate touch what it writes."""
    return i * g * np.cumprod(f[::-1])[::-1]


# %%
# Exercise 5.3
def gru_step(x, h, W, U, b, b_h):
    """Take z for the share that is written, as in the paper."""
    x_r, x_z, x_n = np.split(W @ x + b, 3)
    h_r, h_z, h_n = np.split(U @ h + b_h, 3)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    return z * n + (1 - z) * h
