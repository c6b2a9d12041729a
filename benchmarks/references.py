"""Studies whose every count is committed: run them, keep their tables, and write their reports.

    python benchmarks/references.py --data-root DIR             every study below
    python benchmarks/references.py NAME... --data-root DIR     only these
    python benchmarks/references.py NAME... --reports           no run: reports of the counts there

A study runs like any other, into results/NAME, and only the trials that have no record yet. What a
report needs of it (accuracy.parquet, configs.parquet, trials.parquet, study.toml, versions.json)
is copied to results/reference/NAME, where `clsweep report` then writes. Its ledger of looks at
test numbers is there, and is committed with it. Whoever has the repository can thus recompute
every number of the report by `clsweep report results/reference/NAME`; a test does.

Sentences and tables that say what a study found are made of the same counts. They stand between
`<!-- NAME: PART -->` and `<!-- end -->` in the README beside the counts and in docs/results.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clsweep.cli.main import main as clsweep
from clsweep.reporting.inference import Difference
from clsweep.reporting.report_building import build
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.report_table import percent_cell

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "results" / "reference"
PAGE = ROOT / "docs" / "results.md"
STUDIES = {
    "quickstart": "configs/quickstart.toml",
    "search_mnist": "configs/search_mnist.toml",
    "rescl_split_mnist": "configs/rescl_fronts/split_mnist.toml",
    "rescl_permuted_mnist": "configs/rescl_fronts/permuted_mnist.toml",
    "rescl_cifar10": "configs/rescl_fronts/cifar10.toml",
    "rescl_ablation": "configs/rescl_fronts/ablation.toml",
    "rescl_defaults": "configs/rescl_fronts/defaults.toml",
    "rescl_equal_trials_split_mnist": "configs/rescl_fronts/equal_trials_split_mnist.toml",
    "hnet_compression_small": "configs/hypernetworks/compression_small.toml",
    "hnet_embeddings_small": "configs/hypernetworks/embeddings_small.toml",
    "features_cifar10": "configs/features_cifar10.toml",
    "polynomials": "configs/polynomials.toml",
    "hnet_resnet32_cifar_small": "configs/hypernetworks/resnet32_cifar_small.toml",
}
# Figures of the documentation that show some methods of a study, for a first look.
PICTURES = {"quickstart": ("EWC", "experience replay")}
# All that a report reads, beside the ledger, which stays.
TABLES = ("accuracy.parquet", "configs.parquet", "trials.parquet", "study.toml", "versions.json")
# What some commands add to it.
MAPS = "embeddings.parquet"


def keep_tables(results: Path, reference: Path) -> None:
    """Copy what a report reads.

    Args:
        results: the folder of a run that has ended.
        reference: where it goes.
    """
    reference.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        shutil.copyfile(results / name, reference / name)
    if (results / MAPS).exists():
        shutil.copyfile(results / MAPS, reference / MAPS)


def parts(data: ReportData) -> dict[str, str]:
    """What documents say of a study: a table, the averages, and the claims about them.

    Args:
        data: what `report_data.build` computed.
    """
    return {"table": _table(data), "claims": _claims(data), "averages": _averages(data)}


def draw_picture(data: ReportData, labels: Sequence[str], path: Path) -> None:
    """Draw the figure with some of the methods alone.

    Args:
        data: what `report_data.build` computed.
        labels: of the methods that are shown.
        path: of the PNG file.
    """
    from clsweep.reporting.render import plots, views

    curves = tuple(curve for curve in data.comparison.curves if curve.label in labels)
    shown = replace(data, comparison=replace(data.comparison, curves=curves))
    with plots.settings():
        plots.figure(shown, views.views(shown)[0]).savefig(path, dpi=200)


def with_parts(text: str, name: str, made: Mapping[str, str]) -> str:
    """A document with the parts of one study made anew.

    Args:
        text: the document.
        name: of the study.
        made: part to its text.
    """
    for part, words in made.items():
        block = re.compile(rf"(<!-- {re.escape(f'{name}: {part}')} -->\n).*?(<!-- end -->)", re.S)
        text = block.sub(lambda found, words=words: f"{found[1]}{words}\n{found[2]}", text)
    return text


def _table(data: ReportData) -> str:
    drops = [f"source at target −{100 * r.drop:g} points, %" for r in data.comparison.requirements]
    columns = ("method", "needs", "best average, %", "worst seed, %", *drops)
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for curve in data.comparison.all_curves:
        if curve.best is None:
            continue
        average_S = curve.points[curve.best].measures["average_accuracy"]
        needs = " and ".join(data.uses.get(curve.label, ())) or "nothing more"
        cells = [curve.label, needs, str(percent_cell(average_S)), f"{100 * average_S.min():.1f}"]
        for requirement in data.comparison.requirements:
            index = requirement.chosen.get(curve.label)
            none = "–" if curve.is_reference else "not reached"
            cells.append(
                none if index is None else str(percent_cell(curve.points[index].test_S2[:, 0]))
            )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _claims(data: ReportData) -> str:
    pairs = data.judgement.average_pairs
    found: dict[str, list[str]] = {}
    for d in pairs:
        if d.is_claim:
            mean, low, high = (f"{100 * v:.1f}" for v in (d.interval.mean, *_ends(d)))
            size = f"{mean} [{low}, {high}]" if found else f"{mean} points [{low}, {high}]"
            found.setdefault(d.above, []).append(f"{d.below} by {size}")
    n_claims = sum(map(len, found.values()))
    seeds, rest = len(data.comparison.seeds), len(pairs) - n_claims
    if not found:
        return f"{seeds} seeds support no claim about the {len(pairs)} differences of averages."
    said = "; ".join(f"{above} above {', '.join(below)}" for above, below in found.items())
    return (
        f"Of {len(pairs)} differences of best averages {seeds} seeds support {n_claims}, with "
        f"intervals that hold for all at once: {said}. The other {rest} are not told apart."
    )


def _ends(difference: Difference) -> tuple[float, float]:
    return difference.interval.low, difference.interval.high


def _averages(data: ReportData) -> str:
    best = [
        (float(c.points[c.best].measures["average_accuracy"].mean()), c.label)
        for c in data.comparison.curves
        if c.best is not None
    ]
    said = ", ".join(f"{label} {100 * mean:.1f}" for mean, label in sorted(best, reverse=True))
    return f"Best average accuracies (%): {said}."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code.

    Args:
        arguments: the words after the program's name; those of the process if None.
    """
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(STUDIES)}")
    parser.add_argument("--data-root", default=os.environ.get("CLSWEEP_DATA"))
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="results folders")
    parser.add_argument("--reference", type=Path, default=REFERENCE, help="where reports go")
    parser.add_argument("--page", type=Path, default=PAGE, help="says what studies found")
    parser.add_argument("--workers", type=int, default=2, help="trials at the same time")
    parser.add_argument("--reports", action="store_true", help="run nothing")
    asked = parser.parse_args(arguments)
    if unknown := sorted(set(asked.names) - set(STUDIES)):
        parser.error(f"no study of these names: {', '.join(unknown)}; there are {list(STUDIES)}")
    for name in asked.names or STUDIES:
        reference = asked.reference / name
        if not asked.reports:
            out = str(asked.out / name)
            where = [] if asked.data_root is None else ["--data-root", asked.data_root]
            words = ["run", str(ROOT / STUDIES[name]), "--out", out, *where]
            # 1: some trials failed or diverged, which the report says.
            if (code := clsweep([*words, "--workers", str(asked.workers)])) > 1:
                return code
            keep_tables(asked.out / name, reference)
        elif not (reference / "accuracy.parquet").exists():
            print(f"{name}: no counts are committed")
            continue
        if code := clsweep(["report", str(reference), "--format", "png"]):
            return code
        data = build(reference)
        if name in PICTURES:
            draw_picture(data, PICTURES[name], asked.page.with_name(f"{name}.png"))
        made = parts(data)
        for path in (reference / "README.md", asked.page):
            if path.exists():
                text = path.read_text(encoding="utf-8")
                path.write_text(with_parts(text, name, made), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
