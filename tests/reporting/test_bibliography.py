"""Papers as data: every method that names a paper has its entries, and every entry is whole."""

from __future__ import annotations

import re
import unicodedata

import pytest

from clsweep.methods import METHODS
from clsweep.reporting import bibliography
from clsweep.reporting.bibliography import PAPERS, Paper, bibtex_text, papers_of


def plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(char for char in decomposed if not unicodedata.combining(char))


@pytest.mark.parametrize("name", METHODS)
def test_the_papers_of_a_method_are_those_that_its_entry_names(name: str) -> None:
    citation = METHODS[name].citation
    years = sorted(re.findall(r"(?<!arXiv )\b(?:19|20)\d\d\b(?!\.)", citation))
    found = [PAPERS[key] for key in papers_of(name)]
    assert sorted(str(paper.year) for paper in found) == years
    for paper in found:
        surname = plain(paper.authors.partition(",")[0])
        assert surname in plain(citation)


def test_every_paper_is_cited_by_something_and_named_by_author_and_year() -> None:
    cited = {key for keys in bibliography.OF_METHODS.values() for key in keys}
    cited |= {*bibliography.SCENARIOS, *bibliography.REQUIRED_TARGET}
    cited |= {*bibliography.SIMULTANEOUS_INTERVALS}
    cited |= {key for keys in bibliography.OF_PACKAGES.values() for key in keys}
    assert cited == set(PAPERS)
    for key, paper in PAPERS.items():
        surname = plain(paper.authors.partition(",")[0]).lower()
        assert key.startswith(f"{re.sub('[^a-z]', '', surname)}{paper.year}")


def test_an_entry_is_bibtex_with_braces_that_close() -> None:
    paper = Paper("article", "Li, A. and Ho, B.", "On {X}", 2016, "Journal", {"volume": "3"})
    assert paper.bibtex("li2016x") == (
        "@article{li2016x,\n"
        "  title   = {On {X}},\n"
        "  author  = {Li, A. and Ho, B.},\n"
        "  journal = {Journal},\n"
        "  volume  = {3},\n"
        "  year    = {2016}\n"
        "}\n"
    )
    assert paper.short == "Li and Ho, 2016"
    text = bibtex_text([*PAPERS, *PAPERS])
    assert text.count("@") == len(PAPERS)
    assert text.count("{") == text.count("}")
    # A bare ampersand ends the run of BibTeX's reader, LaTeX.
    assert not re.search(r"(?<!\\)&", text)
