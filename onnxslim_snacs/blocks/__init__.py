"""Whole blocks: what each is worth, in which order they go, and how many."""
