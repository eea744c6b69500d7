"""Whole jobs from end to end: each a recipe of the steps below, for Python and for whatever shows it."""
