"""Tokens, prices, costs and budgets."""
