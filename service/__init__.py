"""Tokenward: the domain and the process."""
