"""How like its training text a sample is: words, marks, what closes, and the measures of known kinds of text."""
