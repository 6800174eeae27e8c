"""The look inside a classifier: which units decided, its gates and states, what its cells follow, its gradients."""
