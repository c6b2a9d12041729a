"""`clsweep doctor`: what a run stands on, checked before it starts.

In: checks of machines, clusters, storage and data. Out: repairs.
"""
