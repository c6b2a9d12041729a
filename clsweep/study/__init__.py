"""A study file: its sections, what it expands to, and what has to be computed for it.

In: what can be known from the file and the data's sizes. Out: what trials found (`search`,
`reporting`). Neither torch nor ray is imported.
"""
