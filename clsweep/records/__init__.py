"""The record of a trial: its fields, its checksum, its accuracies, and the tables made of records.

In: what is true of a record wherever it lies. Out: files and folders (`storage`), studies.
"""
