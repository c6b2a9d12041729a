"""Published tables on real MNIST: run the studies, and write the comparison with what was printed.

    python benchmarks/reproduce.py --data-root DIR             every study of configs/reproduce
    python benchmarks/reproduce.py NAME... --data-root DIR     only these
    python benchmarks/reproduce.py --tables                    no run: README.md from what is there

A study runs like any other, and only the trials that have no record yet. Its result is
results/reference/NAME.parquet, one row per label and seed. README.md beside it is made from these
files, from targets.csv (what was published) and from notes.toml (how the protocols differ, and why
a number was missed); nobody writes into it by hand.

A target is met if the means differ by no more than three standard errors of the published mean, or
by no more than the target's least tolerance, whichever is larger. The test has two sides: a
number that is far too good is a miss as well. A study smaller than the published one is compared
by the order of its rows instead: a target judged 'above' or 'below' is met if its mean is above or
below that of the row before it; the published numbers stand beside and judge nothing.

What is missed by no more than two standard errors of clsweep's own mean is 'not told apart' from
what was published: the seeds do not say. An order is 'not told apart' either way, where the
difference of the two rows, seed by seed, is within two of its standard errors.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from clsweep.cli.main import main as clsweep
from clsweep.records.accuracy import (
    Table,
    accuracy_table,
    average_accuracy,
    backward_transfer,
    forward_transfer,
    learning_accuracy,
    mean_and_error,
    target_accuracy,
)
from clsweep.storage.store import Store
from clsweep.study.configurations import configurations
from clsweep.study.study import Study, load_study
from clsweep.study.toml_files import tomllib

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "configs" / "reproduce"
REFERENCE = ROOT / "results" / "reference"

ERROR_KINDS = ("sd", "sem", "")
# What was published, and how its row is called. A transfer is a mean over T − 1 tasks by its
# definition; the code of GEM divides by all T.
MEASURES = {
    "average_accuracy": "",
    "backward_transfer": "BWT",
    "forward_transfer": "FWT",
    "backward_transfer_over_t": "BWT · (T−1)/T",
    "forward_transfer_over_t": "FWT · (T−1)/T",
    "oldest_accuracy": "oldest task",
    "target_accuracy": "newest task",
    "learning_accuracy": "newly learnt",
}
# How a target is judged, and what stands in the column of tolerances if not by a tolerance.
JUDGED = {
    "value": "",
    "first": "–",
    "above": "above the row before",
    "below": "below the row before",
}
OWN_ERRORS = 2
_HEAD = """\
# Published numbers, and what clsweep makes of them

Made by `python benchmarks/reproduce.py --data-root DIR`; do not edit. DIR holds MNIST as
torchvision keeps it. Each section is one study file; its hyperparameters are the published ones
and were not tuned until the numbers fit, but for one section that says so.

All numbers are test accuracies in per cent, averaged over the tasks after the last one; rows that
say so are backward and forward transfer (BWT, FWT), as means over T − 1 tasks and, · (T−1)/T,
over T.
*Published* and *clsweep* are means ± standard error of the mean (n: number of runs or seeds).
*Difference* is clsweep minus published, ± the standard error of the difference where both are
known. *Tolerance* is three standard errors of the published mean, but at least one point, and at
least five for weight penalties in domain-incremental learning. The verdict compares the two, and
has two sides: a number that is far too good is outside as well. *Within tolerance* says that the
difference is smaller than what was set as tolerable, not that the two are equal. A difference
that is outside, but within two standard errors of clsweep's own mean, is *not told apart* from
none: the seeds are too few. One run has no standard error. A study that is smaller than the
published one is compared by the order of its rows, which *tolerance* then states: *in order* or
*out of order* by more than two standard errors of the difference, seed by seed, or *not told
apart*.
"""


@dataclass(frozen=True)
class Target:
    """A published number, in per cent.

    Attributes:
        study: name of the study file.
        label: the row of the study it is compared with.
        measure: which number was published; one of `MEASURES`.
        published: its mean.
        error: what was printed behind ±; NaN if nothing was.
        error_kind: 'sd' over runs, 'sem', or '' for none.
        n_runs: over how many runs.
        least_tolerance: percentage points that are tolerated in any case; NaN where an order is
            judged.
        source: where it was read.
        judged: one of `JUDGED`: by its value, or by being above or below the row before it of the
            same measure; 'first' has no row before it.
    """

    study: str
    label: str
    measure: str
    published: float
    error: float
    error_kind: str
    n_runs: int
    least_tolerance: float
    source: str
    judged: str = "value"

    @property
    def row(self) -> str:
        """Name of its row: the label, and the measure if that is not average accuracy."""
        return ", ".join(filter(None, [self.label, MEASURES[self.measure]]))

    @property
    def sem(self) -> float:
        """Standard error of the published mean; NaN if no error was published."""
        return self.error / math.sqrt(self.n_runs) if self.error_kind == "sd" else self.error

    @property
    def tolerance(self) -> float:
        """Percentage points by which a mean may differ."""
        return (
            self.least_tolerance
            if math.isnan(self.sem)
            else max(self.least_tolerance, 3 * self.sem)
        )

    def is_met(self, mean: float, before: float = math.nan) -> bool:
        """Whether a mean in per cent is what was published; NaN never is.

        Args:
            mean: of this row.
            before: of the row before it, where an order is judged.
        """
        if self.judged == "first":
            return not math.isnan(mean)
        if self.judged == "value":
            return abs(mean - self.published) <= self.tolerance
        return mean > before if self.judged == "above" else mean < before


@dataclass(frozen=True)
class Outcome:
    """What a study says of a target.

    Attributes:
        target: what was published.
        values: in per cent, one per seed; empty where the study has not been run.
        is_met: whether the mean is what was published.
        is_told_apart: whether the seeds suffice to tell it from what would give the other answer:
            from the published mean, where it is outside of the tolerance, or from the row before.
    """

    target: Target
    values: tuple[float, ...]
    is_met: bool
    is_told_apart: bool

    def verdict(self, is_explained: bool) -> str:
        """In words.

        Args:
            is_explained: whether the notes say why it was missed.
        """
        if not self.values:
            return "not run yet"
        if self.target.judged == "first":
            return "–"
        by_value = self.target.judged == "value"
        if self.is_met and (by_value or self.is_told_apart):
            return "within tolerance" if by_value else "in order"
        if not self.is_told_apart:
            return "not told apart" + ", see below" * (is_explained and not self.is_met)
        missed = "outside" if by_value else "out of order"
        return f"{missed}, {'see below' if is_explained else 'cause unknown'}"


def load_targets(reference: Path = REFERENCE) -> list[Target]:
    """The rows of targets.csv.

    Args:
        reference: the folder of the file.
    """
    with (reference / "targets.csv").open(encoding="utf-8", newline="") as file:
        return [
            Target(
                study=row["study"],
                label=row["label"],
                measure=row["measure"],
                published=float(row["published"]),
                error=float(row["error"]) if row["error"] else math.nan,
                error_kind=row["error_kind"],
                n_runs=int(row["n_runs"]),
                least_tolerance=float(row["least_tolerance"] or math.nan),
                source=row["source"],
                judged=row.get("judged") or "value",
            )
            for row in csv.DictReader(file)
        ]


def load_notes(reference: Path = REFERENCE) -> dict[str, dict[str, Any]]:
    """notes.toml: by study, 'about', and what is to be said of some rows.

    'misses' has the cause of a miss by row; 'earlier', by label, why its numbers are of an earlier
    version of the method.

    Args:
        reference: the folder of the file.
    """
    return tomllib.loads((reference / "notes.toml").read_text(encoding="utf-8"))


def run_study(path: Path, out: Path, data_root: Path | None, workers: int) -> None:
    """Run what a study lacks.

    Args:
        path: the study file.
        out: its results folder.
        data_root: folder with MNIST; None for torchvision's default.
        workers: trials at the same time.
    """
    where = [] if data_root is None else ["--data-root", str(data_root)]
    code = clsweep(["run", str(path), "--out", str(out), "--workers", str(workers), *where])
    if code:
        raise SystemExit(f"{path.stem}: clsweep run ended with {code}")


def rows_of(study: Study, out: Path) -> list[dict[str, Any]]:
    """Measures of a finished study: a row per label and seed, sorted as in the file.

    Args:
        study: the study.
        out: its results folder.
    """
    records = {
        (record["trial"]["config_id"], record["trial"]["seed"]): record
        for record in Store(out).load()
        if record["trial"]["status"] == "ok"
    }
    wanted = [(c, seed) for c in configurations(study) for seed in study.seeds]
    missing = [f"{c.label}, seed {seed}" for c, seed in wanted if (c.id, seed) not in records]
    if missing:
        raise SystemExit(f"{study.name}: no result for {'; '.join(missing)}")
    n_tasks = study.benchmark.n_tasks
    return [
        {
            "label": c.label,
            "seed": seed,
            "config_id": c.id,
            **_measured(accuracy_table(records[c.id, seed]["accuracy"], "test", n_tasks)),
        }
        for c, seed in wanted
    ]


def _measured(acc: Table) -> dict[str, float]:
    """Every one of `MEASURES`, NaN where the table does not hold what it needs."""
    backward, forward = backward_transfer(acc), forward_transfer(acc)
    share = (acc.shape[1] - 1) / acc.shape[1]
    transfers = (backward, forward, backward * share, forward * share)
    single = (float(acc[-1, 0]), target_accuracy(acc), learning_accuracy(acc))
    return dict(zip(MEASURES, (average_accuracy(acc), *transfers, *single), strict=True))


def write_results(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the rows of `rows_of`.

    Args:
        rows: the rows.
        path: the Parquet file.
    """
    schema = pa.schema(
        [
            ("label", pa.string()),
            ("seed", pa.int64()),
            ("config_id", pa.string()),
            *((measure, pa.float64()) for measure in MEASURES),
        ]
    )
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, compression="zstd")


def stored_rows(name: str, reference: Path = REFERENCE) -> list[dict[str, Any]]:
    """The rows of a study's Parquet file; none if it has not been run.

    Args:
        name: the study.
        reference: the folder of the file.
    """
    path = reference / f"{name}.parquet"
    return pq.read_table(path).to_pylist() if path.exists() else []


def values_by_label(rows: Sequence[Mapping[str, Any]], measure: str) -> dict[str, list[float]]:
    """Per cent by label, one value per seed.

    Args:
        rows: rows of a Parquet file.
        measure: one of `MEASURES`.
    """
    values: dict[str, list[float]] = {}
    for row in rows:
        if row.get(measure) is not None:
            values.setdefault(row["label"], []).append(100 * row[measure])
    return values


def outcomes(targets: Sequence[Target], rows: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    """What a study says of each of its targets, in their order.

    Args:
        targets: those of the study.
        rows: the rows of its Parquet file.
    """
    found = []
    before: dict[str, list[float]] = {}
    for target in targets:
        values = values_by_label(rows, target.measure).get(target.label, [])
        others = before.get(target.measure, [])
        is_met = target.is_met(mean_and_error(values)[0], mean_and_error(others)[0])
        if target.judged == "value":
            # A row that is met by its tolerance needs no second look.
            is_told_apart = is_met or _is_told_apart([v - target.published for v in values])
        else:
            is_told_apart = _is_told_apart([v - w for v, w in zip(values, others, strict=False)])
        found.append(Outcome(target, tuple(values), is_met, is_told_apart))
        before[target.measure] = values
    return found


def _is_told_apart(differences: Sequence[float]) -> bool:
    """Whether a mean is beyond `OWN_ERRORS` of its standard errors, which one seed lacks."""
    mean, error = mean_and_error(differences)
    return math.isnan(error) or abs(mean) > OWN_ERRORS * error


def readme(reference: Path = REFERENCE) -> str:
    """The text of README.md, from the Parquet files, the targets and the notes.

    Args:
        reference: the folder of all of these.
    """
    targets, notes = load_targets(reference), load_notes(reference)
    sections = [
        _section(
            name,
            [target for target in targets if target.study == name],
            stored_rows(name, reference),
            notes[name],
        )
        for name in notes
    ]
    return "\n".join([_HEAD, *sections, *_not_run(notes)])


def _not_run(known: Iterable[str]) -> list[str]:
    """Study files of which nothing is claimed yet, as a last section; none where all are known."""
    names = sorted({path.stem for path in CONFIGS.glob("*.toml")} - {*known})
    if not names:
        return []
    links = [f"- [{name}.toml](../../configs/reproduce/{name}.toml)" for name in names]
    text = "Study files whose numbers were not measured; each holds what was published."
    return ["\n".join(["## Not run", "", text, "", *links, ""])]


def _section(
    name: str,
    targets: Sequence[Target],
    rows: Sequence[Mapping[str, Any]],
    notes: Mapping[str, Any],
) -> str:
    lines = [
        f"## {notes['title']}",
        "",
        f"Study: [configs/reproduce/{name}.toml](../../configs/reproduce/{name}.toml). "
        f"Source: {'; '.join(dict.fromkeys(target.source for target in targets))}.",
        "",
        *str(notes["about"]).strip().splitlines(),
        "",
        "| method | published | clsweep | difference | tolerance | verdict |",
        "|---|---|---|---|---|---|",
    ]
    misses, causes = notes.get("misses", {}), []
    for outcome in outcomes(targets, rows):
        row = outcome.target.row
        lines.append(_line(outcome, outcome.verdict(row in misses)))
        if outcome.values and not outcome.is_met and row in misses:
            causes.append(f"- **{row}**: {' '.join(misses[row].split())}")
    earlier = notes.get("earlier", {})
    causes += [f"- **{label}**, run before a mend: {why}" for label, why in earlier.items()]
    return "\n".join(lines + [""] * bool(causes) + causes) + "\n"


def _line(outcome: Outcome, verdict: str) -> str:
    target, values = outcome.target, outcome.values
    ours = difference = ""
    if values:
        mean, sem = mean_and_error(values)
        ours = f"{_with_error(mean, sem)} (n = {len(values)})"
        difference = _with_error(mean - target.published, math.hypot(sem, target.sem), "+")
    cells = [
        target.row,
        f"{_with_error(target.published, target.sem)} (n = {target.n_runs})",
        ours,
        difference,
        JUDGED[target.judged] or f"{target.tolerance:.2f}",
        verdict,
    ]
    return f"| {' | '.join(cells)} |"


def _with_error(value: float, error: float, sign: str = "") -> str:
    # Adding zero makes a rounded −0 positive.
    text = f"{round(value, 2) + 0.0:{sign}.2f}".replace("-", "−")
    return text if math.isnan(error) else f"{text} ± {error:.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Args:
        arguments: the words after the program's name; those of the process if None.
    """
    known = sorted(path.stem for path in CONFIGS.glob("*.toml"))
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(known)}")
    parser.add_argument("--data-root", type=Path, default=os.environ.get("CLSWEEP_DATA"))
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="results folders")
    parser.add_argument("--reference", type=Path, default=REFERENCE, help="where tables go")
    parser.add_argument("--workers", type=int, default=2, help="trials at the same time")
    parser.add_argument("--tables", action="store_true", help="run nothing")
    asked = parser.parse_args(arguments)
    if unknown := sorted(set(asked.names) - set(known)):
        parser.error(f"no study of these names: {', '.join(unknown)}; there are {known}")
    for name in () if asked.tables else asked.names or known:
        path = CONFIGS / f"{name}.toml"
        run_study(path, asked.out / name, asked.data_root, asked.workers)
        rows = rows_of(load_study(path), asked.out / name)
        write_results(rows, asked.reference / f"{name}.parquet")
    text = readme(asked.reference)
    (asked.reference / "README.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
