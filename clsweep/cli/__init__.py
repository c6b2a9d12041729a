"""The command line: every command parses its words, calls one function and prints.

In: options, terminal text, exit codes. Out: everything that a notebook would want as well.
"""
