"""Closed-form recovery: which layers can be re-fitted, from which moments, by which equations."""
