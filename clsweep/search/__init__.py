"""Choosing configurations: samplers, fill-in, stopping rules, and the protocols that pick one.

In: decisions from validation accuracies. Out: test accuracies, which only `reporting` reads.
"""
