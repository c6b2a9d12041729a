"""Data sets and benchmarks: their declarations, their files, and the tasks made of them.

In: everything from a name in `[benchmark]` to the images of a task. Out: networks, training.
"""
