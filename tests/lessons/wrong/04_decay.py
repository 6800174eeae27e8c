# %%
# Exercise 4.1: the wrong way round
def half_life(radius):
    return math.log(radius) / math.log(0.5) if radius < 1 else math.inf


# %%
# Exercise 4.1: large weights forgotten
def half_life(radius):
    return math.log(0.5) / math.log(radius) if radius != 1 else math.inf


# %%
# Exercise 4.2: without the derivative of tanh
def norms_by_lag(states, W_h, delta):
    norms = [np.linalg.norm(delta)]
    for _ in states[1:]:
        delta = W_h.T @ delta
        norms.append(np.linalg.norm(delta))
    return np.array(norms)


# %%
# Exercise 4.2: not transposed
def norms_by_lag(states, W_h, delta):
    norms = [np.linalg.norm(delta)]
    for later in reversed(states[1:]):
        delta = W_h @ ((1 - later**2) * delta)
        norms.append(np.linalg.norm(delta))
    return np.array(norms)


# %%
# Exercise 4.2: the derivative at the earlier state
def norms_by_lag(states, W_h, delta):
    norms = [np.linalg.norm(delta)]
    for earlier in reversed(states[:-1]):
        delta = W_h.T @ ((1 - earlier**2) * delta)
        norms.append(np.linalg.norm(delta))
    return np.array(norms)


# %%
# Exercise 4.3: each array by itself
def clip(gradients, threshold):
    return [
        gradient * min(1.0, threshold / np.linalg.norm(gradient)) if gradient.any() else gradient
        for gradient in gradients
    ]


# %%
# Exercise 4.3: each number by itself
def clip(gradients, threshold):
    return [np.clip(gradient, -threshold, threshold) for gradient in gradients]


# %%
# Exercise 4.3: always to the threshold
def clip(gradients, threshold):
    norm = np.sqrt(sum((gradient**2).sum() for gradient in gradients))
    return [gradient * threshold / norm for gradient in gradients]
