"""Importances by a function of the user's own: a Fisher diagonal, or an Ω.

    estimate(net, params, learnt, n_examples) -> importance by name, ω_i ≥ 0, of every shared
                                                 parameter, in its shape

`clsweep.methods.parts.importance` holds ours; each of its functions shows how one is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from clsweep.errors import ClsweepError, MethodError
from clsweep.methods.base import LearntTask
from clsweep.methods.own_methods import ESTIMATOR_FORM, imported
from clsweep.nets.net import Net, shared
from clsweep.nets.parameter_trees import Params
from clsweep.signals import contained
from clsweep.user_code import UserCode, raising_place


def own_importance(
    path: str, key: str, net: Net, params: Params, learnt: LearntTask, n_examples: int
) -> Params:
    """What a user's estimator makes of a task.

    Args:
        path: 'package.module:function'.
        key: of the study file, for messages.
        net: the network.
        params: θ*, where the importance is taken.
        learnt: the task, whose head is used.
        n_examples: examples to use; 0 for all.

    Raises:
        StudyError: it cannot be imported.
        MethodError: it raised, or returned something else than importances.
    """
    code = imported(path, key, ESTIMATOR_FORM)
    try:
        with contained():
            found = code.found(net, params, learnt, n_examples)
    except ClsweepError:
        raise
    except RuntimeError as error:
        if not raising_place(error):
            raise
        raise _mistake(code, f"raised {type(error).__name__}: {error}", error) from error
    except Exception as error:
        raise _mistake(code, f"raised {type(error).__name__}: {error}", error) from error
    wrong = _complaint(found, shared(params))
    if wrong:
        raise _mistake(code, wrong)
    return {name: found[name].detach() for name in shared(params)}


def _mistake(code: UserCode, found: str, error: BaseException | None = None) -> MethodError:
    at = (raising_place(error) if error is not None else "") or code.place
    return MethodError(
        f"'{code.path}' {found}", expected=ESTIMATOR_FORM, where=f"{code.where}: {at}"
    )


def _complaint(found: Any, wanted: Params) -> str:
    if not isinstance(found, Mapping):
        return f"returned a {type(found).__name__}"
    if found.keys() != wanted.keys():
        odd = sorted(found.keys() ^ wanted.keys())
        return f"names other parameters than the shared ones: {odd[:3]}"
    for name, value in found.items():
        if not isinstance(value, torch.Tensor) or value.shape != wanted[name].shape:
            return f"returned an importance of '{name}' that has not the parameter's shape"
        if not bool(torch.isfinite(value).all()) or bool((value < 0).any()):
            return f"returned an importance of '{name}' that is negative, infinite or NaN"
    return ""
