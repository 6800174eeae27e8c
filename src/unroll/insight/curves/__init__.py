"""Pictures of models on a text: reliability, loss by position, surprisal."""
