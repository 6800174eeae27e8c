"""Whether gradients vanish or explode."""
