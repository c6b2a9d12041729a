"""What is known about any data set: of a name, of a folder of images, of arrays.

A folder's images are listed and decoded once; arrays are looked at once. No torch is imported.
"""

from __future__ import annotations

from pathlib import Path

from clsweep.data import array_surveys
from clsweep.data.data_root import folder_path
from clsweep.data.dataset_specs import ARRAYS, AS_STORED, DATASETS, FOLDER, DatasetSpec, Framing
from clsweep.data.image_folders import folder_listing, survey
from clsweep.errors import StudyError, closest_name


def dataset_spec(name: str, root: Path | None, framing: Framing = AS_STORED) -> DatasetSpec:
    """Sizes of a data set. Looks at every image of a `folder:PATH`, every value of `arrays:PATH`.

    Args:
        name: a key of `DATASETS`, `folder:PATH` or `arrays:PATH`.
        root: the data root; a relative PATH is looked up there, or in the current folder if None.
            What lies beside the study file comes before, see `Study.located_benchmark`.
        framing: how a folder's images come to one size.

    Raises:
        StudyError: no data set has that name, the folder is not laid out as expected, or its
            images, or the arrays, cannot be used.
    """
    if name in DATASETS:
        return DATASETS[name]
    if name.startswith(ARRAYS):
        return _arrays_spec(name, root)
    if not name.startswith(FOLDER):
        raise StudyError(
            f"unknown data set '{name}'",
            expected=closest_name(name, [*DATASETS, "folder:PATH", "arrays:PATH"]),
            where="[benchmark]",
            next_step="`clsweep benchmarks` lists them; folder:PATH reads PATH/train/CLASS/*.png, "
            "arrays:PATH a file or folder of arrays",
        )
    path = folder_path(name, root)
    listing = folder_listing(path)
    found = survey(path, framing, listing)
    return DatasetSpec(
        name,
        found.shape,
        tuple(len(files) for files in listing.train),
        tuple(len(files) for files in listing.test),
        (*listing.notes, *found.notes),
        tuple(len(files) for files in listing.validation),
    )


def _arrays_spec(name: str, root: Path | None) -> DatasetSpec:
    path = folder_path(name, root)
    try:
        found = array_surveys.survey(path)
    except OSError as error:
        raise StudyError(
            f"{error.filename or path} cannot be read: {error.strerror or error}",
            expected="undamaged files that may be read",
            where="[benchmark] dataset",
        ) from error
    train, validation, test = found.counts
    return DatasetSpec(
        name,
        found.shape,
        train,
        test,
        found.notes,
        validation if any(validation) else (),
        found.dtype,
        tuple(map(str, found.names)),
        found.residence,
        found.n_targets,
    )
