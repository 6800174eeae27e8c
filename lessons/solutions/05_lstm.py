# %%
# Exercise 5.1
def forget_bias(half_life):
    """Return b such that a cell with f = sigmoid(b) falls to one half in `half_life` steps."""
    f = 0.5 ** (1 / half_life)
    return np.log(f / (1 - f))


# %%
# Exercise 5.2
def contributions(i, f, g):
    """Return for each step what is left in the cell, after the last step, of what it wrote."""
    parts = i * g
    for t in range(len(parts)):
        parts[t] *= np.prod(f[t + 1 :])
    return parts


# %%
# Exercise 5.3
def gru_step(x, h, W, U, b, b_h):
    """Step a GRU: x (I,), h (H,), W (3H, I), U (3H, H), b of the input and b_h of h (3H,)."""
    x_r, x_z, x_n = np.split(W @ x + b, 3)
    h_r, h_z, h_n = np.split(U @ h + b_h, 3)
    r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h
