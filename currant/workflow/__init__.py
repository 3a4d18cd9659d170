"""Deterministic replay of workflow code. Knows nothing of the database."""
