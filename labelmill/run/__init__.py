"""One run of a job from its opening to its record."""
