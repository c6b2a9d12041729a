"""Conformance: what every method has to satisfy, as checks that a user's own can be put through.

In: the checks, what they are run on, and what they say. Out: what a method is (`methods`), and
cases of ours with known answers (the tests).
"""
