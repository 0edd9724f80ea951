"""Figures: their sheet, the style of every method, and one module per kind."""
