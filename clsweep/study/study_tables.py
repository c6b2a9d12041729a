"""The tables of a study file as one value, each checked for itself; together in `study/study.py`.

What only reads a study takes one of these types, so that it need not know how a study comes to be.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr, WithJsonSchema

from clsweep.config_section import Section, as_toml, mistake
from clsweep.data.benchmark_specs import AnyBenchmark, BenchmarkConfig
from clsweep.data.dataset_specs import ARRAYS, FOLDER
from clsweep.data.factory_calls import FACTORY
from clsweep.nets.config import NetConfig
from clsweep.study.made_arrays import located_arrays
from clsweep.study.method_tables import AnyRequest
from clsweep.study.search_section import SearchConfig
from clsweep.study.sections import CallbacksConfig, ReportConfig, Resources, SaveConfig
from clsweep.training.config import TrainingConfig

MAX_SEEDS = 10_000


def _seed_list(raw: Any) -> Any:
    if isinstance(raw, int) and not isinstance(raw, bool):
        if not 1 <= raw <= MAX_SEEDS:
            raise mistake(
                f"seeds = {as_toml(raw)}",
                expected=f"a number of seeds from 1 to {MAX_SEEDS}, or a list of seeds",
            )
        return tuple(range(raw))
    if not isinstance(raw, list | tuple):
        raise mistake(
            f"seeds = {as_toml(raw)}", expected="a whole number of seeds, or a list of seeds"
        )
    twice = [seed for seed, count in Counter(map(repr, raw)).items() if count > 1]
    if twice:
        raise mistake(f"the seed {twice[0]} is listed twice", expected="each seed once")
    return tuple(raw)


Seeds = Annotated[
    tuple[Annotated[int, Field(ge=0, lt=2**63)], ...],
    Field(
        min_length=1,
        max_length=MAX_SEEDS,
        description="how many seeds (3 means 0, 1, 2), or a list of them; "
        "every configuration is trained once per seed",
    ),
    BeforeValidator(_seed_list),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": MAX_SEEDS},
                {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            ]
        }
    ),
]


@dataclass(frozen=True)
class Origin:
    """Where a study comes from; no part of what it says, and so of no comparison.

    Attributes:
        folder: where its file lies.
        results: its results folder, if its name does not tell: one of several of a file.
    """

    folder: Path | None = field(default=None, compare=False)
    results: Path | None = field(default=None, compare=False)


class Conditions(Section):
    """What a study says beside its methods, and all of its trials share. Frozen.

    Who needs no method is handed these alone: data, networks, stages, folders.
    """

    _origin: Origin = PrivateAttr(default=Origin())

    name: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$",
            max_length=100,
            description="letters, digits, '.', '_' and '-'; names the results folder",
        ),
    ]
    seeds: Seeds = (0, 1, 2)
    benchmark: Annotated[AnyBenchmark, Field(description="the sequence of tasks")]
    net: NetConfig = NetConfig()
    training: TrainingConfig = TrainingConfig()
    resources: Resources = Resources()
    report: ReportConfig = ReportConfig()
    search: SearchConfig = SearchConfig()
    callbacks: CallbacksConfig = CallbacksConfig()
    save: SaveConfig = SaveConfig()

    @property
    def results_folder(self) -> Path:
        """Where its results lie if no other folder is named, below the current one."""
        return self._origin.results or Path("results") / self.name

    @property
    def located_benchmark(self) -> BenchmarkConfig:
        """The benchmark, with full paths of the data that lie beside the study file.

        Arrays that a function makes have a place of their own, see `made_arrays`.

        For finding data only: names and hashes are those of `benchmark`.
        """
        if self.benchmark.name == "polynomials":
            return self.benchmark  # computed, and nowhere
        names = []
        for name in self.benchmark.datasets:
            if name.startswith(FACTORY):
                names.append(located_arrays(name))
                continue
            kind = next((kind for kind in (FOLDER, ARRAYS) if name.startswith(kind)), "")
            names.append(kind + self._beside(name.removeprefix(kind)) if kind else name)
        found: dict[str, Any] = {"dataset": names[0]}
        if self.benchmark.name == "sequence":
            shape = dict(zip(self.benchmark.datasets, names, strict=True))
            found = {"datasets": tuple(names), "dataset": shape.get(self.benchmark.dataset, "")}
        elif names[1:]:
            found["target"] = tuple(names[1:])
        return self.benchmark.model_copy(update=found)

    @property
    def located_net(self) -> NetConfig:
        """The network, with the full path of weights that lie beside the study file."""
        weights = self.net.weights and self._beside(self.net.weights)
        return self.net.model_copy(update={"weights": weights})

    def _beside(self, path: str) -> str:
        """The full path of what lies beside the study file; else the path as it is written."""
        folder = self._origin.folder
        if folder is None or not (folder / path).exists():
            return path
        return str(folder / path)


class StudyTables(Conditions):
    """The tables of one TOML file. Frozen; equal files give equal values."""

    methods: Annotated[
        tuple[AnyRequest, ...],
        Field(strict=False, min_length=1, description="one [[methods]] table per curve"),
    ]

    @property
    def conditions(self) -> Conditions:
        """What it says beside its methods."""
        keys = Conditions.model_fields.keys()
        made = Conditions.model_construct(
            self.model_fields_set & keys, **{key: getattr(self, key) for key in keys}
        )
        made._origin = self._origin
        return made

    @property
    def optimisers(self) -> tuple[str, ...]:
        """The optimisers that the file names, in its order."""
        named = [self.training.optimizer]
        for request in self.methods:
            named += request.training.axes().get("optimizer", ())
        return tuple(named)
