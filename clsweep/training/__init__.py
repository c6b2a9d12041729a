"""One task after another: the training loop, batches, optimisers, evaluation, early stopping.

In: what happens within one trial. Out: which trials there are (`study`), where they run
(`execution`).
"""
