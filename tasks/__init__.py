"""Thin Prefect tasks around `labelmill`: names, retries, artifacts."""
