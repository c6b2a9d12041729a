"""Progress of a sweep, read from its results folder by anybody, at any time.

In: looking without touching. Out: judging results (`reporting`).
"""
