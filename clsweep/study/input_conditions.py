"""What a study asks of the shape and type of its inputs: nets, augmentation, generated replay."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clsweep.data.input_checks import check_inputs, input_kinds, is_image, shape_words
from clsweep.errors import StudyError
from clsweep.nets.checks import benchmark_shape, check_image
from clsweep.study.configurations import examples

if TYPE_CHECKING:
    from clsweep.study.study_tables import StudyTables


def check_fit(study: StudyTables, root: Path | None) -> None:
    """Refuse inputs that benchmark, net, training or methods of a study cannot take.

    Args:
        study: the study.
        root: the data root, see `dataset_lookup.dataset_spec`.

    Raises:
        StudyError: they do not fit.
    """
    benchmark = study.located_benchmark
    kinds = input_kinds(benchmark, root)
    check_inputs(benchmark, kinds)
    check_image(study.net, benchmark_shape(benchmark, root))
    first = kinds[0]
    if not is_image(first.shape):
        for configuration in examples(study):
            augment = configuration.training.augment
            if augment != "none":
                raise StudyError(
                    f"augment = '{augment}' moves pixels, and '{first.name}' holds "
                    f"{shape_words(first.shape)}",
                    expected="augment = 'none'",
                    where="[training] augment",
                )
    for request in study.methods:
        if first.is_float and request.entry.generates_images:
            raise StudyError(
                f"'{request.method_key}' generates images of bytes, and '{first.name}' holds "
                f"{first.dtype}",
                expected="another method, or images saved as uint8",
                where="[[methods]] name",
            )
