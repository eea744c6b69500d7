"""Alerts: where they go, what each service takes, and how one is sent."""
