"""A results folder on a disk or in an object store: places, locks, records, tables.

In: how something is written, read, listed and held. Out: what a study asks for (`study`), what
a run does with it (`execution`). Neither torch nor ray is imported.
"""
