"""Data sets and benchmarks as declarations, known without loading an image or importing torch.

A benchmark is a frozen pydantic model: the study file's `[benchmark]` table, the line of
`clsweep benchmarks` and the plan's sizes all come from it. `benchmarks.build` makes the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from clsweep.data.dataset_specs import ARRAYS, FOLDER, Framing
from clsweep.data.factory_calls import FACTORY, factory_call
from clsweep.data.polynomials import POLYNOMIALS
from clsweep.data.regression_options import option_fault
from clsweep.number_conditions import conditions
from clsweep.records.metrics import ACCURACY, METRICS, Metric
from clsweep.records.schema import MAX_TASKS

_DRAWS = (
    "'per_seed': permutations, angles and shuffled orders (of classes, of data sets) differ "
    "between the trials' seeds; the train/validation split never does"
)


class BenchmarkConfig(BaseModel):
    """What every benchmark declares; `[benchmark]` of a study file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    name: str
    dataset: str = Field(
        "digits",
        description="data set: a name that `clsweep benchmarks` lists, folder:PATH, arrays:PATH, "
        "or factory:package.module:function for a function that returns arrays",
    )
    n_tasks: int = Field(2, ge=2, le=MAX_TASKS, description="number of tasks")
    scenario: Literal["task", "domain", "class"] = Field(
        "task",
        description="'task': a head per task; 'domain': one shared head; "
        "'class': one head over all classes seen so far",
    )
    data_seed: int = Field(
        0, ge=0, description="fixes the train/validation split and the benchmark's own draws"
    )
    draws: Literal["fixed", "per_seed"] = Field("fixed", description=_DRAWS)
    validation_fraction: float = Field(
        0.1, gt=0, le=0.5, description="share of the training images held out for validation"
    )
    validation: Literal["own", "drawn"] = Field(
        "own",
        description="'own': validation examples are those of the data set's own part (val/, "
        "val_x), where it has one; 'drawn': they are always drawn from the training examples",
    )
    split: Literal["random", "stratified"] = Field(
        "random",
        description="'stratified': validation holds the same share of every class, and "
        "examples_per_task takes the same share of every class",
    )
    examples_per_task: int = Field(
        0, ge=0, description="training examples per task after the split; 0 for all"
    )
    resize: int = Field(
        0,
        ge=0,
        le=4096,
        description="folder:PATH only: pixels of the shorter side to which every image is "
        "brought, antialiased; 0 leaves its size",
    )
    crop: int = Field(
        0,
        ge=0,
        le=4096,
        description="folder:PATH only: side of the square that is then cut from the centre; 0 "
        "leaves the image",
    )
    pad: int = Field(0, ge=0, le=64, description="zero pixels added on each side")
    pixels: Literal["unit", "standardized"] = Field(
        "unit",
        description="'unit': value / 255; 'standardized': minus the mean, over the standard "
        "deviation, per channel of the padded training images of `dataset`",
    )

    features: Literal["stored", "standardized"] = Field(
        "stored",
        description="arrays of floating point only: 'stored': inputs are as they are; "
        "'standardized': minus the mean, over the standard deviation of the training rows, per "
        "feature, or per channel of images",
    )

    targets: Literal["classes", "numbers"] = Field(
        "classes",
        description="what is learnt of every example: its class, or 'numbers' (a regression): y "
        "of arrays in floating point",
    )
    metric: Literal["r2", "nrmse"] = Field(
        "r2",
        description="what stands in accuracy's place with targets = 'numbers': 'r2', the share of "
        "the targets' variance that is explained (larger is better), or 'nrmse', the root mean "
        "squared error over the targets' standard deviation (smaller is better)",
        json_schema_extra=conditions(where={"targets": "numbers"}),
    )

    if TYPE_CHECKING:

        @property
        def datasets(self) -> tuple[str, ...]:
            """The data sets, in the order in which tasks need them."""

    @property
    def shape_dataset(self) -> str:
        """The data set whose height, width and channels all images have."""
        return self.dataset or self.datasets[0]

    @property
    def is_regression(self) -> bool:
        """Whether numbers are learnt, not classes."""
        return self.targets == "numbers"

    @property
    def shown_metric(self) -> Metric:
        """What stands in accuracy tables."""
        return METRICS[self.metric] if self.is_regression else ACCURACY

    @property
    def framing(self) -> Framing:
        """How images of folders come to one size."""
        return Framing(self.resize, self.crop)

    @model_validator(mode="after")
    def _check_framing(self) -> BenchmarkConfig:
        if any(self.framing) and not any(name.startswith(FOLDER) for name in self.datasets):
            raise ValueError(
                "resize and crop are for the images of folder:PATH; those of "
                f"{' and '.join(self.datasets)} have one size"
            )
        for name in self.datasets:
            if name.startswith(FACTORY):
                factory_call(name)
        kinds = (ARRAYS, FACTORY)
        if self.features != "stored" and not any(n.startswith(kinds) for n in self.datasets):
            raise ValueError(
                "features = 'standardized' is for arrays; pixels = 'standardized' is for "
                f"{' and '.join(self.datasets)}"
            )
        if 0 < self.resize < self.crop:
            raise ValueError(
                f"crop = {self.crop} is more than is left of an image after resize = {self.resize}"
            )
        return self

    @model_validator(mode="after")
    def _check_regression(self) -> BenchmarkConfig:
        fault = option_fault(self.name, self.targets, self.metric, self.scenario)
        if fault:
            raise ValueError(fault)
        return self


class OneDataset(BenchmarkConfig):
    """What benchmarks on one data set have in common."""

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data set."""
        return (self.dataset,)


def _class_order(value: Any) -> Any:
    if value in ("sorted", "shuffled"):
        return value
    labels = value if isinstance(value, (list, tuple)) else ()
    if not labels or not all(type(label) is int and label >= 0 for label in labels):
        raise ValueError("class_order is 'sorted', 'shuffled', or a list of all labels, from 0")
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        raise ValueError(f"class_order lists class {twice[0]} more than once")
    return tuple(labels)


ClassOrder = Annotated[
    str | tuple[int, ...],
    BeforeValidator(_class_order),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["sorted", "shuffled"]},
                {
                    "type": "array",
                    "items": {"type": "integer", "minimum": 0},
                    "minItems": 1,
                    "uniqueItems": True,
                },
            ]
        }
    ),
]


class SplitBenchmark(OneDataset):
    """The classes of one data set, divided among the tasks: evenly, or as the study says."""

    name: Literal["split"] = "split"
    draws: Literal["fixed", "per_seed"] = Field(
        "fixed",
        description=_DRAWS,
        json_schema_extra=conditions(where={"class_order": "shuffled"}),
    )
    class_order: ClassOrder = Field(
        "sorted",
        description="'shuffled': classes are assigned to tasks at random; or a list of all "
        "labels, from 0, in the order in which tasks take them",
    )
    classes_per_task: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (),
        strict=False,
        description="classes of each task, which add up to those of the data set; empty: equally "
        "many",
    )

    @model_validator(mode="before")
    @classmethod
    def _count_tasks(cls, values: Any) -> Any:
        return _with_n_tasks(values, "classes_per_task", 0)


class PermutedBenchmark(OneDataset):
    """One data set under a random permutation of its pixels per task, equal for all channels."""

    name: Literal["permuted"] = "permuted"
    scenario: Literal["task", "domain", "class"] = Field(
        "domain", description=BenchmarkConfig.model_fields["scenario"].description
    )
    permute_first: bool = Field(True, description="false leaves the first task unpermuted")


class RotatedBenchmark(OneDataset):
    """One data set rotated counter-clockwise about the image's centre, by one angle per task."""

    name: Literal["rotated"] = "rotated"
    scenario: Literal["task", "domain", "class"] = Field(
        "domain", description=BenchmarkConfig.model_fields["scenario"].description
    )
    draws: Literal["fixed", "per_seed"] = Field(
        "fixed", description=_DRAWS, json_schema_extra=conditions(where={"angles": ((),)})
    )
    max_degrees: float = Field(
        180.0,
        gt=0,
        le=360,
        description="angles are uniform on [0, max_degrees)",
        json_schema_extra=conditions(where={"angles": ((),)}),
    )
    order: Literal["drawn", "sorted", "stratified"] = Field(
        "drawn",
        description="'sorted': tasks in the order of their angles; 'stratified': one angle in "
        "each of n_tasks equal parts of that range, in their order (Lopez-Paz and Ranzato)",
        json_schema_extra=conditions(where={"angles": ((),)}),
    )
    angles: tuple[float, ...] = Field(
        (), strict=False, description="degrees of each task; given, none are drawn"
    )
    interpolation: Literal["nearest", "bilinear"] = Field(
        "nearest", description="how pixels between the grid points are read"
    )

    @model_validator(mode="before")
    @classmethod
    def _count_angles(cls, values: Any) -> Any:
        return _with_n_tasks(values, "angles", 0)


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_as_tuple),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
    ),
]


class SeveralDatasets(BenchmarkConfig):
    """What benchmarks with a data set per task have in common.

    Classes of two data sets are different classes, whatever they are called; where the tasks share
    one head ('domain'), the first class of each has its first output, and so on.
    """

    draws: Literal["fixed", "per_seed"] = Field(
        "fixed", description=_DRAWS, json_schema_extra=conditions(where={"order": "shuffled"})
    )
    order: Literal["given", "shuffled"] = Field(
        "given",
        description="'shuffled': the data sets are learnt in a random order, which differs "
        "between seeds with draws = 'per_seed'; they need equal numbers of classes then",
    )


class PairBenchmark(SeveralDatasets):
    """Different data sets in turn, brought to the size and channels of the first."""

    name: Literal["pair"] = "pair"
    target: Names = Field(
        min_length=1,
        strict=False,
        description="data set of the second task, or a list of those of all later tasks",
    )

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets, in the order in which tasks need them."""
        return (self.dataset, *self.target)

    @model_validator(mode="before")
    @classmethod
    def _count_targets(cls, values: Any) -> Any:
        return _with_n_tasks(values, "target", 1)

    @model_validator(mode="after")
    def _check_distinct(self) -> PairBenchmark:
        if len(set(self.datasets)) < len(self.datasets):
            raise ValueError(
                f"dataset and target must differ; they are {', '.join(self.datasets)}"
            )
        return self


class SequenceBenchmark(SeveralDatasets):
    """Any data sets in any order, a task each; one may come again, but for scenario 'class'."""

    name: Literal["sequence"] = "sequence"
    datasets: tuple[str, ...] = Field(
        min_length=2,
        strict=False,
        description="the data set of every task, in order: names that `clsweep benchmarks` lists, "
        "folder:PATH or arrays:PATH",
    )
    dataset: str = Field(
        "",
        description="the one of them to whose height, width and channels the images of all are "
        "brought; needed where they differ",
    )
    pixels: Literal["unit", "standardized"] = Field(
        "unit",
        description="'unit': value / 255; 'standardized': minus the mean, over the standard "
        "deviation, per channel of the padded training images of `dataset`, or of the first",
    )

    @model_validator(mode="before")
    @classmethod
    def _count_datasets(cls, values: Any) -> Any:
        return _with_n_tasks(values, "datasets", 0)

    @model_validator(mode="after")
    def _check_listed(self) -> SequenceBenchmark:
        if self.dataset and self.dataset not in self.datasets:
            raise ValueError(
                f"dataset = '{self.dataset}' gives the images their shape, and is none of "
                f"datasets: {', '.join(self.datasets)}"
            )
        twice = [name for name in self.datasets if self.datasets.count(name) > 1]
        if twice and self.scenario == "class":
            raise ValueError(
                f"'{twice[0]}' comes more than once, and under one head for all classes the same "
                "class would have two outputs"
            )
        return self


class PolynomialsBenchmark(SeveralDatasets):
    """Regression of three polynomials of rising degree, each on an interval of its own."""

    name: Literal["polynomials"] = "polynomials"
    dataset: Literal["polynomial_1"] = Field(
        "polynomial_1", description="the data set of the first task"
    )
    n_tasks: Literal[3] = Field(3, description="number of tasks")
    scenario: Literal["task", "domain"] = Field(
        "task",
        description="'task': an output of its own for every task; 'domain': one output for all",
    )
    targets: Literal["numbers"] = Field("numbers", description="what is learnt of every example")

    @property
    def datasets(self) -> tuple[str, ...]:
        """The polynomials, in the order of their degrees."""
        return tuple(POLYNOMIALS)


def _with_n_tasks(values: Any, key: str, n_before: int) -> Any:
    """`values` with `n_tasks` counted from the list under `key`; a number that disagrees fails."""
    listed = _as_tuple(values.get(key, ())) if isinstance(values, dict) else ()
    if not isinstance(listed, (list, tuple)) or not listed:
        return values
    n_tasks = n_before + len(listed)
    if values.get("n_tasks", n_tasks) != n_tasks:
        raise ValueError(f"n_tasks is {values['n_tasks']}, but {key} makes it {n_tasks}")
    return {**values, "n_tasks": n_tasks}


AnyBenchmark = Annotated[
    SplitBenchmark
    | PermutedBenchmark
    | RotatedBenchmark
    | PairBenchmark
    | SequenceBenchmark
    | PolynomialsBenchmark,
    Field(discriminator="name"),
]

BENCHMARKS: dict[str, type[BenchmarkConfig]] = {
    "split": SplitBenchmark,
    "permuted": PermutedBenchmark,
    "rotated": RotatedBenchmark,
    "pair": PairBenchmark,
    "sequence": SequenceBenchmark,
    "polynomials": PolynomialsBenchmark,
}


def draw_purpose(config: BenchmarkConfig, seed: int) -> tuple[int, ...]:
    """What the benchmark's own draws depend on; to be followed by what is drawn.

    Args:
        config: the benchmark.
        seed: the trial's seed, dropped with draws = 'fixed'.
    """
    return (config.data_seed,) if config.draws == "fixed" else (config.data_seed, seed)


def own_draws(benchmark: Mapping[str, Any]) -> tuple[str, ...]:
    """What the benchmark draws at random beside the train/validation split, in words.

    Args:
        benchmark: its declaration as plain values, as a study file has it; every default written
            out.
    """
    name = benchmark.get("name")
    if name == "split" and benchmark.get("class_order") == "shuffled":
        return ("class order",)
    if name == "permuted":
        return ("permutations",)
    if name == "rotated" and not benchmark.get("angles"):
        return ("angles",)
    if name in ("pair", "sequence", "polynomials") and benchmark.get("order") == "shuffled":
        return ("order of the data sets",)
    return ()
