"""Whatever says what comes next: networks, n-grams, caches and mixtures behind one interface."""
