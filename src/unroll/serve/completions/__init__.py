"""The API of the field's standard client: completions, tokens, embeddings."""
