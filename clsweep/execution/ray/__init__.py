"""Ray and Tune, behind one wall: runner and workers know nothing of them.

In: everything that is peculiar to Ray. Out: what would be the same with another executor.
"""
