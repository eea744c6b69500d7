"""One file per pipeline. Each reads like a recipe."""
