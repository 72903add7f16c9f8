"""Decides what runs, and what the results mean."""
