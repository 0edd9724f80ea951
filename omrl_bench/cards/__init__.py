"""Data cards, the leak check and films: they show data, not records."""
