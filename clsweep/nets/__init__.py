"""Networks as pure functions of their parameters, and the checks of `[net]`.

In: layers, architectures, modules of the user's. Out: methods, and how a network is trained.
"""
