"""Which cells track a property of the text, with causal proof."""
