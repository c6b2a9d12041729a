"""Running a study: what is to do next, workers, executors, stages kept, trials lost.

In: what happens while a run goes on. Out: what its results mean (`reporting`).
"""
