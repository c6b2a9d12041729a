"""`factory:package.module:function(key = value)`: a data set that a function of the user's makes.

A name is read here, and nothing is imported: its arrays lie in a folder of the user's cache, see
`study.made_arrays`.
"""

from __future__ import annotations

import ast
from typing import Any, NamedTuple

FACTORY = "factory:"
_FORM = "factory:package.module:function, or with numbers: factory:package.module:function(n=100)"


class FactoryCall(NamedTuple):
    """A function of the user's and its arguments.

    Attributes:
        path: 'package.module:function'.
        arguments: by name; numbers, texts, booleans, None, and lists of them.
    """

    path: str
    arguments: dict[str, Any]


def factory_call(name: str) -> FactoryCall:
    """What a data set's name asks for.

    Args:
        name: it starts with `FACTORY`.

    Raises:
        ValueError: it is no such name.
    """
    path, bracket, rest = name.removeprefix(FACTORY).partition("(")
    module, colon, function = path.strip().partition(":")
    if not colon or not all(part.isidentifier() for part in [*module.split("."), function]):
        raise ValueError(f"'{name}' names no function; expected {_FORM}")
    if not bracket:
        return FactoryCall(path.strip(), {})
    try:
        call = ast.parse(f"f({rest}", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or not isinstance(call.func, ast.Name):
            raise ValueError("every argument has a name")
        arguments = {str(key.arg): ast.literal_eval(key.value) for key in call.keywords}
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = "it is no call" if isinstance(error, SyntaxError) else str(error)
        raise ValueError(
            f"the arguments of '{name}' are no numbers, texts or lists by name ({reason}); "
            f"expected {_FORM}"
        ) from error
    if "None" in arguments:  # of f(**x)
        raise ValueError(f"the arguments of '{name}' are to be named one by one")
    # Python refuses them when it compiles a call, not when it parses one.
    given = [(str(key.arg), ast.unparse(key.value)) for key in call.keywords]
    for argument in arguments:
        values = [f"{argument}={value}" for key, value in given if key == argument]
        if len(values) > 1:
            raise ValueError(
                f"'{name}' gives the argument '{argument}' more than once: "
                f"{' and '.join(values)}; expected each once"
            )
    return FactoryCall(path.strip(), arguments)
