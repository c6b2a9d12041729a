"""Bridges: methods of other libraries as learners, to be run beside ours.

In: what makes a library's code a learner (`training.imperative_learner`). Out: what a learner is
given and how it is judged (`training`). Nothing imports this room but a study that names it.
"""
