"""Budgets, costs and the plan."""
