"""Facts about data sets as plain values: seven of images by name, and three polynomials.

Of every class the exact size is known.

What is known of folders of images and of arrays is found out by `dataset_lookup`.
"""

from __future__ import annotations

from typing import NamedTuple

from clsweep.data.polynomials import N_TEST, N_TRAIN, N_VALIDATION, POLYNOMIALS

# How names of data sets start that are the user's own.
FOLDER = "folder:"
ARRAYS = "arrays:"


class Framing(NamedTuple):
    """How images of any size come to one size, as torchvision's Resize and CenterCrop do.

    Attributes:
        resize: pixels of the shorter side after an antialiased bilinear resize; 0 leaves it.
        crop: side of the square that is then cut from the centre; 0 leaves the image.
    """

    resize: int = 0
    crop: int = 0


AS_STORED = Framing()


class DatasetSpec(NamedTuple):
    """What is known about a data set before it is loaded.

    Attributes:
        name: as in the study file.
        shape: of every input, (C, H, W) for images.
        train_counts: training images of each class.
        test_counts: test images of each class.
        notes: what is doubtful about a folder of images, or arrays, a sentence each.
        validation_counts: validation images of each class; empty where they are drawn from the
            training images.
        dtype: of stored values.
        class_names: of the classes; empty for their numbers.
        residence: what of arrays is in memory, a sentence; '' for other data, which are.
        n_targets: numbers to predict of every example of a regression, whose examples are counted
            as if they were of one class; 0 for classes.
    """

    name: str
    shape: tuple[int, ...]
    train_counts: tuple[int, ...]
    test_counts: tuple[int, ...]
    notes: tuple[str, ...] = ()
    validation_counts: tuple[int, ...] = ()
    dtype: str = "uint8"
    class_names: tuple[str, ...] = ()
    residence: str = ""
    n_targets: int = 0

    @property
    def n_train(self) -> int:
        """Training images in all."""
        return sum(self.train_counts)

    @property
    def n_test(self) -> int:
        """Test images in all."""
        return sum(self.test_counts)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.train_counts)


_SPECS = (
    DatasetSpec(
        "digits",
        (1, 8, 8),
        (128, 131, 128, 132, 131, 131, 131, 129, 126, 130),
        (50, 51, 49, 51, 50, 51, 50, 50, 48, 50),
    ),
    DatasetSpec(
        "mnist",
        (1, 28, 28),
        (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    ),
    DatasetSpec("fashion_mnist", (1, 28, 28), (6000,) * 10, (1000,) * 10),
    DatasetSpec("kmnist", (1, 28, 28), (6000,) * 10, (1000,) * 10),
    DatasetSpec("cifar10", (3, 32, 32), (5000,) * 10, (1000,) * 10),
    DatasetSpec("cifar100", (3, 32, 32), (500,) * 100, (100,) * 100),
    DatasetSpec(
        "svhn",
        (3, 32, 32),
        (4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659),
        (1744, 5099, 4149, 2882, 2523, 2384, 1977, 2019, 1660, 1595),
    ),
    *(
        DatasetSpec(
            name,
            (1,),
            (N_TRAIN,),
            (N_TEST,),
            validation_counts=(N_VALIDATION,),
            dtype="float32",
            n_targets=1,
        )
        for name in POLYNOMIALS
    ),
)
DATASETS: dict[str, DatasetSpec] = {spec.name: spec for spec in _SPECS}
