"""Migrations in the order of their numbers; each runs up and down, with rows, in a test."""
