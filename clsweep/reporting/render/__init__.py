"""The form of a report: terminal tables, figures, the page, files for papers.

In: drawing and writing. Out: computing, which is one floor below.
"""
