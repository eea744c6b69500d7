"""Comparing ways to ask: the same texts one by one, in batches, and as a run does it."""
