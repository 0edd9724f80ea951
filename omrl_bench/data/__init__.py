"""Behaviour policies, datasets, context sets and what methods get to see of them."""
