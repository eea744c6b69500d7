"""The command line: one file per verb, above the flows."""
