"""How a translator comes to what it writes."""
