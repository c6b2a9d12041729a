"""A page that shows sweeps while they run: a small server on this machine, which only reads.

In: what is served, to whom, and how often a results folder is read for it. Out: how far a sweep
is (`status`), and what its report says (`reporting`).
"""
