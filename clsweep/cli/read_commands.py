"""The commands that only read: tables, lists, explanations, study files from a template."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clsweep.cli.console import show
from clsweep.cli.prediction_command import predictions
from clsweep.cli.results_folders import (
    each_place,
    results_by_benchmark,
    results_place,
    with_trials,
)
from clsweep.cli.streams import as_json_text
from clsweep.errors import StudyError
from clsweep.storage.remote_path import Place
from clsweep.text import command, printable

if TYPE_CHECKING:
    from clsweep.reporting.report_data import ReportData


def report(
    directories: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR...",
            help="Results folders of one benchmark, their URIs, or study files.",
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            help="Local folder for the files [default: DIR; results/NAME for a URI; A+B].",
            metavar="DIR",
        ),
    ] = None,
    formats: Annotated[
        str,
        typer.Option("--format", help="Of html, png, svg, pdf, latex, csv.", metavar="A,B,..."),
    ] = "html,png,svg",
    protocol: Annotated[
        str | None,
        typer.Option(
            help="Show what one rule of choosing picks: average, target, required-POINTS, "
            "decay-SHARE, first-TASKS, transfer, or package.module:rule of your own.",
            metavar="NAME",
        ),
    ] = None,
    tuned_on: Annotated[
        str | None,
        typer.Option(
            help="Results on another benchmark, to choose there and apply here.", metavar="DIR"
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Print all tables and all caveats.")
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(
            "--tables",
            help="Print these alone, of average, required, luck, fronts, choices, pairs, "
            "source-pairs, regret, transfer, trials, per-class, measures, costs, memory.",
            metavar="A,B,...",
        ),
    ] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option(
            help="Import a measure of your own, package.module:function, and compute it from "
            "accuracies. Can be given several times.",
            metavar="NAME",
        ),
    ] = None,
    paper: Annotated[
        bool,
        typer.Option(
            "--paper",
            help="Write into a folder paper: figure, table, methods paragraph and BibTeX, for "
            "LaTeX.",
        ),
    ] = False,
    width: Annotated[
        float | None,
        typer.Option(help="With --paper: of the figure [default: 3.25].", metavar="INCHES"),
    ] = None,
    embeddings: Annotated[
        bool,
        typer.Option(
            "--embeddings", help="Draw the maps that `clsweep embeddings` made, one per trial."
        ),
    ] = False,
) -> None:
    """Print what a study found, or several on one figure; write page, figures, tables.

    One screen unless --full or --tables asks for more. report.txt has everything.
    """
    from clsweep.cli.next_commands import after_report
    from clsweep.reporting.render.publish import formats_of
    from clsweep.reporting.render.publish import report as write_report

    def written(*places: Place, out: str | Path | None) -> ReportData:
        return write_report(
            *places,
            out=out,
            formats=formats_of(formats),
            protocol=protocol,
            tuned_on=tuned_on,
            full=full,
            only=[name.strip() for name in (only or "").split(",") if name.strip()],
            measures=measure or (),
            paper=paper,
            width=width,
            embeddings=embeddings,
        )

    folder, labels = results_by_benchmark(directories[0])
    if len(directories) == 1 and labels:
        _report_several(directories[0], folder, labels, out, formats_of(formats), written)
        return
    places = [results_place(directory) for directory in directories]
    print(after_report(written(*places, out=out), places[0]))


def _report_several(
    word: str,
    place: Place,
    labels: tuple[str, ...],
    out: str | None,
    formats: tuple[str, ...],
    written: Callable[..., ReportData],
) -> None:
    """Report the benchmarks of one study file, and all of them in one table."""
    from clsweep.cli.next_commands import after_reports
    from clsweep.reporting.render.publish_several import report_several

    places = with_trials(word, each_place(word, labels, place))
    missing = [label for label in labels if place / label not in places]
    local = place if isinstance(place, Path) else Path("results") / place.name
    data = report_several(
        places,
        Path(out) if out else local,
        lambda one: written(one, out=Path(out) / one.name if out else None),
        name=place.name,
        formats=formats,
        missing=missing,
    )
    print(after_reports(word, place, data, missing))


def export(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="A results folder, or its URI.")],
    optuna: Annotated[
        Path | None,
        typer.Option(help="A new file: .db for SQLite, .log for a journal.", metavar="FILE"),
    ] = None,
    study: Annotated[
        Path | None, typer.Option(help="A new study file, .toml.", metavar="FILE")
    ] = None,
    other: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="With --study: another benchmark, by its name, its study file or its results.",
            metavar="BENCHMARK",
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="With --study: the rule that chooses [default: average].", metavar="NAME"
        ),
    ] = None,
) -> None:
    """Write what a study has chosen as a study file, or its results as Optuna studies.

    With --study: one configuration per method, chosen on validation data, and the references.
    With --optuna: the validation results, one study per curve; `optuna-dashboard sqlite:///FILE`
    opens them.
    """
    if (optuna is None) == (study is None) or (study is None and (other or protocol)):
        raise StudyError(
            "it is not said what to write",
            expected="one of --optuna FILE and --study FILE; --for and --protocol with --study",
        )
    if optuna is not None:
        from clsweep.search.optuna_export import export_optuna

        for name, n_trials in export_optuna(results_place(directory), optuna).items():
            print(f"{name}: {n_trials} trials")
        return
    assert study is not None
    from clsweep.cli.next_commands import after_export
    from clsweep.search.study_export import export_study
    from clsweep.text import axes_text

    place = results_place(directory)
    made = export_study(place, study, protocol=protocol or "average", other=other)
    for label, config_id in made.labels.items():
        numbers = f"{axes_text(made.numbers[label])}, " if made.numbers[label] else ""
        print(printable(f"{label}: {numbers}configuration {config_id}", one_line=True))
    for label, why in made.left_out.items():
        print(printable(f"left out: {label}: {why}", one_line=True))
    print(after_export(study, place if other is None else None))


def methods(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One method in full.")
    ] = None,
) -> None:
    """List the methods, or explain one of them."""
    from clsweep.methods.known_methods import entry_of, method_doc
    from clsweep.study.field_text import keys_text

    if name is None:
        from clsweep.cli.listings import methods_table

        show(methods_table())
        return
    entry = entry_of(name)
    start = entry.start_note and f"Start: {entry.start_note}."
    lanes = "" if entry.path else entry.lanes_note
    for paragraph in (f"{entry.title} ({name})", method_doc(name), entry.citation, start, lanes):
        if paragraph:
            print(f"{paragraph}\n")
    print(keys_text(entry.hyper.model_fields) or "It has no numbers of its own.")


def benchmarks(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="One benchmark in full.")
    ] = None,
) -> None:
    """List benchmarks and data sets, or explain one benchmark."""
    from clsweep.study.field_text import keys_text
    from clsweep.study.templates import benchmark_type

    if name is not None:
        config = benchmark_type(name)
        print(f"{config.__doc__}\n\n{keys_text(config.model_fields)}")
        return
    from clsweep.cli.listings import benchmarks_table, datasets_table

    show(benchmarks_table())
    print()
    show(datasets_table())


def init(
    benchmark: Annotated[str, typer.Option(help="A name from `clsweep benchmarks`.")] = "split",
    methods: Annotated[
        str | None,
        typer.Option(
            help="Names from `clsweep methods` [default: all of the scenario].", metavar="A,B,..."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The new file [default: print it].", metavar="FILE")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="With every key explained.")] = False,
) -> None:
    """Write a study file to start from, short or with every key explained."""
    from clsweep.study.templates import short_template, study_template, usual_methods, write_new

    usual = usual_methods(benchmark)
    names = usual if methods is None else [n.strip() for n in methods.split(",")]
    text = (study_template if full else short_template)(
        benchmark, names, out.stem if out else "study"
    )
    if out is None:
        print(text, end="")
        return
    write_new(out, text)
    print(f"wrote {printable(str(out), one_line=True)}; next: {command('clsweep plan', out)}")


def schema() -> None:
    """Print the JSON schema of study files, for editors."""
    from clsweep.study.file_schema import file_schema

    print(as_json_text(file_schema(), indent=2))


# In the order in which the help lists them.
COMMANDS = (report, predictions, export, methods, benchmarks, init, schema)
