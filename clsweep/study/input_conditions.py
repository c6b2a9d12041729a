"""What a study asks of the shape and type of its inputs: nets, augmentation, generated replay."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from clsweep.data.input_checks import check_inputs, input_kinds, is_image, shape_words
from clsweep.errors import StudyError
from clsweep.nets.checks import benchmark_shape, check_image

if TYPE_CHECKING:
    from clsweep.study.study_tables import Conditions


def check_fit(
    conditions: Conditions,
    root: Path | None,
    augments: Iterable[str],
    generators: Iterable[str],
) -> None:
    """Refuse inputs that benchmark, net, training or methods of a study cannot take.

    Args:
        conditions: those of the study.
        root: the data root, see `dataset_lookup.dataset_spec`.
        augments: how trainings move pixels, or 'none'.
        generators: methods that generate images.

    Raises:
        StudyError: they do not fit.
    """
    benchmark = conditions.located_benchmark
    kinds = input_kinds(benchmark, root)
    check_inputs(benchmark, kinds)
    check_image(conditions.net, benchmark_shape(benchmark, root))
    first = kinds[0]
    if not is_image(first.shape):
        for augment in augments:
            if augment != "none":
                raise StudyError(
                    f"augment = '{augment}' moves pixels, and '{first.name}' holds "
                    f"{shape_words(first.shape)}",
                    expected="augment = 'none'",
                    where="[training] augment",
                )
    for name in generators:
        if first.is_float:
            raise StudyError(
                f"'{name}' generates images of bytes, and '{first.name}' holds {first.dtype}",
                expected="another method, or images saved as uint8",
                where="[[methods]] name",
            )
