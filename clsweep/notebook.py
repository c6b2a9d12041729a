"""Results for notebooks: tables, fronts, and figures as objects.

results = clsweep.load("results/quickstart")
results.fronts.to_pandas()
results.figure()
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from os import PathLike
from typing import TYPE_CHECKING, Any

from clsweep.errors import StoreError
from clsweep.reporting.ledger import count_looks
from clsweep.reporting.report_data import ReportData, build
from clsweep.reporting.result_tables import points_table
from clsweep.reporting.results_reader import check_folders
from clsweep.storage.remote_path import Place, place_of
from clsweep.storage.store import Store

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure

    from clsweep.reporting.comparison import Comparison


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

    def interactive(self) -> Any:
        """The fronts as a figure of plotly: hover shows configuration and seeds."""
        import plotly.graph_objects as go

        from clsweep.reporting.render.page_fronts import fronts_figure

        return go.Figure(fronts_figure(self.data))

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
