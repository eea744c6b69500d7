"""What is remembered on disk: files, journal, ledger, lock."""
