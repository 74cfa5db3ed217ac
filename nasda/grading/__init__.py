"""Marks for submitted answers: each runs in a confined worker, and is compared outside of it."""
