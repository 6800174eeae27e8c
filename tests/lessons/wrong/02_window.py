# %%
# Exercise 2.1: vectors for each place of the window
def number_of_weights(vocab_size, window, embedding_size, hidden_size):
    vectors = window * vocab_size * embedding_size
    return vectors + (window * embedding_size + 1) * hidden_size + (hidden_size + 1) * vocab_size


# %%
# Exercise 2.1: a hidden layer that does not see the window
def number_of_weights(vocab_size, window, embedding_size, hidden_size):
    vectors = vocab_size * embedding_size
    return vectors + (embedding_size + 1) * hidden_size + (hidden_size + 1) * vocab_size


# %%
# Exercise 2.2: stops at the first place without an influence
def reach(predict, ids, other):
    for k in range(1, len(ids) + 1):
        changed = list(ids)
        changed[-k] = other
        if predict(changed) == predict(ids):
            return k - 1
    return len(ids)


# %%
# Exercise 2.2: changes pile up
def reach(predict, ids, other):
    before, farthest = predict(ids), 0
    for k in range(1, len(ids) + 1):
        ids[-k] = other
        if predict(ids) != before:
            farthest = k
    return farthest


# %%
# Exercise 2.3: a queue instead of a stack
def bracket_distances(text):
    distances, places = [], []
    for place, character in enumerate(text):
        if character == "(":
            places.append(place)
        elif character == ")" and places:
            distances.append(place - places.pop(0))
    return distances


# %%
# Exercise 2.3: from each bracket to the next one that closes
def bracket_distances(text):
    return [text.find(")", place) - place for place, letter in enumerate(text) if letter == "("]
