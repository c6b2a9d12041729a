r"""What a paper takes from a report: a figure, a table, a paragraph, and what they cite.

    figure.pdf       for one column; figure.tex has it with its caption
    table.tex        a `table*` with caption and notes, for the package booktabs
    methods.tex      what was run and how it was chosen, with `\cite`; methods.txt without
    references.bib   of the methods, the statistics and the software that are cited
    example.tex      a document with all of these, to be looked at

All numbers are those of the report, computed once.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from clsweep.reporting.bibliography import PAPERS, bibtex_text
from clsweep.reporting.methods_paragraph import Cite, Sentence, cited, methods_paragraph
from clsweep.reporting.paper_table import PaperCell, paper_table
from clsweep.reporting.render.frame_exits import nearest_inside
from clsweep.reporting.render.latex import escaped, table_row, with_powers
from clsweep.reporting.render.paper_figure import figure_bytes
from clsweep.reporting.render.views import in_percent, views
from clsweep.reporting.report_data import ReportData
from clsweep.storage.disk import write_atomically

_TEXT_WIDTH = 100


def write_paper(data: ReportData, folder: Path, width: float) -> list[Path]:
    """Write everything that a paper takes; returns the files in order.

    Args:
        data: what `report_building.build` computed.
        folder: where they go.
        width: of the figure in inches.

    Raises:
        StoreError: the disk refuses them.
    """
    sentences = _worded(methods_paragraph(data), data)
    files = {
        "figure.pdf": figure_bytes(data, width),
        "figure.tex": figure_latex(data).encode(),
        "table.tex": table_latex(data).encode(),
        "methods.tex": paragraph_latex(sentences).encode(),
        "methods.txt": paragraph_text(sentences).encode(),
        "references.bib": bibtex_text(cited(sentences)).encode(),
        "example.tex": _EXAMPLE.encode(),
    }
    written = []
    for name, content in files.items():
        write_atomically(folder / name, content)
        written.append(folder / name)
    return written


def _worded(sentences: Sequence[Sentence], data: ReportData) -> list[Sentence]:
    """The paragraph in the words of the metric, and what the metric is."""
    found: list[Sentence] = [
        tuple(data.in_words(part) if isinstance(part, str) else part for part in sentence)
        for sentence in sentences
    ]
    return [*found, (data.metric_text,)] if data.metric_text else found


def figure_latex(data: ReportData) -> str:
    """The figure with a caption that says what every mark is.

    Args:
        data: what `report_building.build` computed.
    """
    return "\n".join(
        (
            r"% needs \usepackage{graphicx}",
            r"\begin{figure}",
            r"  \centering",
            r"  \includegraphics{figure.pdf}",
            rf"  \caption{{{_latex(data.in_words(' '.join(_figure_caption(data))))}}}",
            r"  \label{fig:fronts}",
            r"\end{figure}",
            "",
        )
    )


def _figure_caption(data: ReportData) -> Iterator[str]:
    n = len(data.comparison.seeds)
    of_seeds = f"; means over {n} seeds, bars are one standard error" if n > 1 else "; one seed"
    of_seeds *= data.comparison.has_numbers
    yield (
        f"{data.benchmark[:1].upper()}{data.benchmark[1:]}: source against target accuracy on "
        f"test data. Lines join the configurations of a method that no other of it beats in both "
        f"accuracies on validation data{of_seeds}."
    )
    if data.metric_text:
        yield data.metric_text
    yield "Circles: chosen for the best average accuracy on validation data."
    outside = list(_outside(data))
    if outside:
        yield f"Arrows point to what lies outside: {', '.join(outside)}."
    if data.comparison.not_drawn:
        text = data.comparison.not_drawn
        yield f"{text[:1].upper()}{text[1:]}."


def _outside(data: ReportData) -> Iterator[str]:
    view, _ = views(data)
    found = [
        (curve.label, in_percent([curve.points[curve.best]])[0])
        for curve in data.comparison.references
        if curve.best is not None
    ]
    end = data.comparison.source_end
    if end is not None:
        found.append((end.label, 100 * end.corner_S2.mean(axis=0)))
    for label, xy in found:
        if nearest_inside(xy, view) is not None:
            yield f"{label} ({xy[0]:.1f}, {xy[1]:.1f})"


def table_latex(data: ReportData) -> str:
    r"""The table as a float of two columns' width, with its notes below it.

    Args:
        data: what `report_building.build` computed.
    """
    table = paper_table(data)
    notes = data.in_words(" ".join(table.notes))
    height = max(map(len, table.headings))
    heads = [(*heading, *[""] * (height - len(heading))) for heading in table.headings]
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table*}",
        r"  \centering",
        rf"  \caption{{{_latex(data.in_words(table.caption))}}}",
        r"  \label{tab:accuracies}",
        r"  \footnotesize",
        r"  \setlength{\tabcolsep}{4pt}",
        r"  \smallskip",
        rf"  \begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
        r"    \toprule",
        *(
            _row([PaperCell(data.in_words(head[line])) for head in heads])
            for line in range(height)
        ),
        r"    \midrule",
        *map(_row, table.methods),
        *([r"    \midrule"] if table.methods and table.references else []),
        *map(_row, table.references),
        r"    \bottomrule",
        r"  \end{tabular}",
        "",
        r"  \smallskip",
        rf"  \begin{{minipage}}{{\linewidth}}{_latex(notes)}\end{{minipage}}",
        r"\end{table*}",
        "",
    ]
    return "\n".join(lines)


def _row(cells: Sequence[PaperCell]) -> str:
    texts = [
        rf"\textbf{{{_latex(cell.text)}}}" if cell.is_claim else _latex(cell.text)
        for cell in cells
    ]
    return f"    {table_row(texts)}"


def paragraph_latex(sentences: Sequence[Sentence]) -> str:
    r"""The paragraph as LaTeX, a sentence to a line, with `\cite`.

    Args:
        sentences: of `methods_paragraph`.
    """
    return "".join(f"{''.join(map(_part_latex, sentence))}\n" for sentence in sentences)


def _part_latex(part: str | Cite) -> str:
    if isinstance(part, Cite):
        return rf"~\cite{{{','.join(part.keys)}}}"
    # Blanks at the ends stand between parts.
    start, end = (" " * part.startswith(" "), " " * (part.endswith(" ") and part != " "))
    return f"{start}{_latex(part)}{end}"


def paragraph_text(sentences: Sequence[Sentence]) -> str:
    """The paragraph as plain text, with authors and years.

    Args:
        sentences: of `methods_paragraph`.
    """
    found = " ".join("".join(map(_part_text, sentence)) for sentence in sentences)
    return textwrap.fill(found, _TEXT_WIDTH, break_on_hyphens=False, break_long_words=False) + "\n"


def _part_text(part: str | Cite) -> str:
    if isinstance(part, Cite):
        return f" ({'; '.join(PAPERS[key].short for key in part.keys)})"
    return part


def _latex(text: str) -> str:
    return with_powers(escaped(text))


_EXAMPLE = r"""% All of it in one document:
%   pdflatex example && bibtex example && pdflatex example && pdflatex example
\documentclass[twocolumn]{article}
\usepackage[margin=2cm]{geometry}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{booktabs}
\usepackage{graphicx}
\begin{document}
\section*{Methods}
\input{methods}
\input{figure}
\input{table}
\bibliographystyle{plain}
\bibliography{references}
\end{document}
"""
