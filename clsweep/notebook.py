"""Results for notebooks: tables, fronts, and figures as objects.

results = clsweep.load("results/quickstart")
results.fronts.to_pandas()
results.figure()
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from clsweep.data.data_root import data_root as root_of
from clsweep.errors import StoreError, closest_name
from clsweep.reporting.ledger import count_looks
from clsweep.reporting.report_building import build
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.result_tables import points_table
from clsweep.reporting.results_reader import check_folders
from clsweep.storage.disk import write_atomically
from clsweep.storage.remote_path import Place, place_of
from clsweep.storage.store import Store
from clsweep.study.study import stored_study
from clsweep.text import counted, seeds_of

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure
    from torch import Tensor

    from clsweep.execution.saved_networks import SavedNetwork
    from clsweep.records.schema import Record
    from clsweep.reporting.comparison import Comparison


class ShownPage:
    """The page of a report as a cell of a notebook shows it.

    Args:
        text: the page.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        # In a frame of its own, the page's script and styles do not meet those of the notebook.
        return (
            f'<iframe srcdoc="{html.escape(self._text)}" sandbox="allow-scripts allow-downloads" '
            'title="report" style="width: 100%; height: 900px; border: 0"></iframe>'
        )

    def write_html(self, path: PathLike[str] | str) -> None:
        """Write the page as a file, which opens offline.

        Args:
            path: of the file.

        Raises:
            StoreError: the disk refuses it.
        """
        write_atomically(Path(path), self._text.encode())


class LoadedResults:
    """One results folder, or several of one benchmark. Tables are pyarrow's: `.to_pandas()`.

    Args:
        directories: results folders, at least one.
    """

    def __init__(self, directories: tuple[Place, ...]) -> None:
        self.directories = directories

    def __repr__(self) -> str:
        comparison = self.comparison
        n_points = sum(len(curve.points) for curve in comparison.all_curves)
        return (
            f"<{self.data.title}: {len(comparison.all_curves)} labels, {n_points} configurations, "
            f"{len(comparison.seeds)} seeds>"
        )

    @cached_property
    def data(self) -> ReportData:
        """Everything that `clsweep report` says; counts as a look at the test numbers."""
        data = build(*self.directories)
        return replace(data, notes=(*data.notes, *count_looks(data.shown, "load")))

    @property
    def comparison(self) -> Comparison:
        """Curves, references, required accuracies and choices; accuracies in [0, 1]."""
        return self.data.comparison

    @property
    def notes(self) -> tuple[str, ...]:
        """What to know before trusting the numbers."""
        return self.data.notes

    @property
    def accuracy(self) -> pa.Table:
        """One row per trial, task learnt, task tested and split, with exact counts."""
        return self._tables["accuracy"]

    @property
    def configs(self) -> pa.Table:
        """One row per configuration, with a column per number of any method."""
        return self._tables["configs"]

    @property
    def trials(self) -> pa.Table:
        """One row per trial: status, message, steps, seconds, memory, versions."""
        return self._tables["trials"]

    @property
    def fronts(self) -> pa.Table:
        """The points of the report: mean (`seed` is null) and every seed, on both splits."""
        return points_table(self.comparison, self.data.luck.is_shared)

    def figure(self) -> Figure:
        """The fronts where they compete, by matplotlib, as `clsweep report` draws them."""
        from clsweep.reporting.render import plots, views

        with plots.settings():
            return plots.figure(self.data, views.views(self.data)[0])

    def interactive(self) -> ShownPage:
        """The page of the report: a cell of a notebook that ends with it shows it."""
        from clsweep.reporting.render.page import page_of

        return ShownPage(page_of(self.data))

    def model(
        self, configuration: str, seed: int, data_root: Path | str | None = None
    ) -> SavedNetwork:
        """The final network of a trial, as a module in evaluation form, on the CPU.

        `model(x, task)` gives logits, of inputs as `examples` has them; see docs/runs.md.

        Args:
            configuration: its id, as in the tables; or a label that has one configuration.
            seed: the seed.
            data_root: where weights of a torchvision model lie; None for that of `CLSWEEP_DATA`.

        Raises:
            StoreError: there is no such trial, or its network was not kept, or is damaged.
        """
        from clsweep.execution.saved_networks import load_network

        directory, record = self._trial(configuration, seed)
        study = stored_study(directory / "study.toml")
        return load_network(directory, study, record, root_of(data_root))

    def examples(
        self, seed: int, task: int, split: str = "test", data_root: Path | str | None = None
    ) -> tuple[Tensor, Tensor]:
        """The inputs of one task as the data set stores them, and their labels.

        What the task does to them, such as a permutation of the pixels, is done.

        Args:
            seed: the seed, which draws permutations, angles, orders and splits.
            task: the task, from 0.
            split: 'train', 'validation' or 'test'.
            data_root: where the data lie; None for the folder that `CLSWEEP_DATA` names.

        Raises:
            StudyError: the data are not there, or there is no such task or split.
        """
        from clsweep.data.task_examples import examples_of

        study = stored_study(self.directories[0] / "study.toml")
        return examples_of(study.located_benchmark, root_of(data_root), seed, task, split)

    def _trial(self, configuration: str, seed: int) -> tuple[Place, Record]:
        """The trial of a configuration, and the folder that it is from."""
        labels: dict[str, str] = {}
        seeds: set[int] = set()
        for directory in self.directories:
            records = Store(directory, read_only=True).load("validation")
            own = {r["config"]["config_id"]: r["config"]["label"] for r in records}
            ids = {key for key, label in own.items() if label == configuration}
            labels |= own
            wanted = configuration if configuration in own or len(ids) != 1 else min(ids)
            for record in records:
                trial = record["trial"]
                if trial["config_id"] == wanted:
                    if trial["seed"] == seed:
                        return directory, record
                    seeds.add(trial["seed"])
        found, expected = _no_trial(configuration, seed, labels, seeds)
        raise StoreError(
            found,
            expected=expected,
            where=", ".join(map(str, self.directories)),
            next_step="`results.trials` lists the trials",
        )

    @cached_property
    def _tables(self) -> dict[str, pa.Table]:
        """The tables of all folders, each row with the folder that it is from."""
        import pyarrow as pa

        found: dict[str, list[pa.Table]] = {}
        for directory in self.directories:
            for name, table in Store(directory).tables().items():
                folder = pa.array([str(directory)] * len(table), pa.string())
                found.setdefault(name, []).append(table.append_column("folder", folder))
        return {
            name: pa.concat_tables(parts, promote_options="permissive")
            for name, parts in found.items()
        }


def _no_trial(
    configuration: str, seed: int, labels: Mapping[str, str], seeds: set[int]
) -> tuple[str, str]:
    """What was asked for and is not there, and what is: the ids, the seeds or the labels."""
    ids = sorted(key for key, label in labels.items() if label == configuration)
    if len(ids) > 1:
        n = counted(len(ids), "configuration")
        return f"'{configuration}' is a label with {n}", f"the id of one: {', '.join(ids)}"
    if seeds:
        found = f"there is no trial of '{configuration}' with seed {seed}"
        return found, f"one of {seeds_of(tuple(sorted(seeds)))}"
    known = sorted({*labels.values()})
    return f"there is no configuration '{configuration}'", (
        f"an id of the column config_id, or a label: {closest_name(configuration, known)}"
    )


def load(*directories: Place | PathLike[str] | str) -> LoadedResults:
    """The results of a study, or of several of one benchmark, for a notebook.

    Loading counts as one look at the folders' test numbers, whatever is read of them.

    Args:
        directories: results folders of `clsweep run`, paths or URIs.

    Raises:
        StoreError: a folder does not exist, has no results, or they cannot be read.
    """
    paths = tuple(place_of(directory) for directory in directories)
    check_folders(paths)
    if not paths:
        raise StoreError("no results folder is named", expected='clsweep.load("results/NAME")')
    loaded = LoadedResults(paths)
    # Everything that can be wrong with a folder is said here, not at the first use.
    assert loaded.data is not None
    return loaded
