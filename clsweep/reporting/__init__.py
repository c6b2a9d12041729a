"""The content of a report: fronts, comparisons, intervals, caveats, and their tables as data.

In: everything computed from records. Out: how it looks (`reporting.render`).
"""
