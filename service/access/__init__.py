"""The one door to tenant rows; nothing outside this package queries them.

actor     who is calling, and how far that reaches
door      a transaction within a reach: the query's filter first, row-level security behind it
tokens    rows of tokens and their secrets
accounts  rows of accounts and members
system    the few queries that no actor asks, each named ``system_*`` and listed in a test
"""
