# %% [markdown]
# # Solutions of session 2


# %%
# Exercise 2.1
def number_of_weights(vocab_size, window, embedding_size, hidden_size):
    vectors = vocab_size * embedding_size
    hidden = window * embedding_size * hidden_size + hidden_size
    output = hidden_size * vocab_size + vocab_size
    return vectors + hidden + output


# %%
# Exercise 2.2
def reach(predict, ids, other):
    farthest = 0
    for k in range(1, len(ids) + 1):
        changed = list(ids)
        changed[-k] = other
        if predict(changed) != predict(ids):
            farthest = k
    return farthest


# %%
# Exercise 2.3
def bracket_distances(text):
    distances, places = [], []
    for place, character in enumerate(text):
        if character == "(":
            places.append(place)
        elif character == ")" and places:
            distances.append(place - places.pop())
    return distances
