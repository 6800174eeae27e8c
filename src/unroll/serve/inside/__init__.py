"""What the page looks into a network with."""
