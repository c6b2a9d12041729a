"""Parts that several methods are made of: penalties, memories, importances, generators.

In: pieces that know no method. Out: methods, which stand one floor above.
"""
