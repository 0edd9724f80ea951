"""Estimators, intervals and comparisons on tidy frames; nothing here reads or writes files."""
