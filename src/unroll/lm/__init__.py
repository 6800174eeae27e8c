"""Questions to a language model: what is probable, what comes next, how good it is."""
