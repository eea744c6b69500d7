"""Parquet in, Parquet out: sources, texts, row keys, plans and merging."""
