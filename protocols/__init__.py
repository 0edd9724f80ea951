"""Evaluators (Python) and suites (TOML)."""
