# %% [markdown]
# # Solutions of session 4


# %%
# Exercise 4.1
def half_life(radius):
    return math.log(0.5) / math.log(radius) if radius < 1 else math.inf


# %%
# Exercise 4.2
def norms_by_lag(states, W_h, delta):
    norms = [np.linalg.norm(delta)]
    for later in reversed(states[1:]):
        delta = W_h.T @ ((1 - later**2) * delta)
        norms.append(np.linalg.norm(delta))
    return np.array(norms)


# %%
# Exercise 4.3
def clip(gradients, threshold):
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
    return [gradient * min(1.0, threshold / norm) for gradient in gradients]
