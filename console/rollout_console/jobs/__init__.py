"""Async media jobs: how each stands, and what is wrong with it."""
