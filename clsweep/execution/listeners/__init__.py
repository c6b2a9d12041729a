"""Listeners, who are told what a run does: the terminal, the log of events, trackers.

In: observers. Out: anything that a result depends on.
"""
