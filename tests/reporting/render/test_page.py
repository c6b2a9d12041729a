"""The page's values against what the report computed; hostile names; odd studies."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsweep.cli.main import main
from clsweep.reporting.findings import findings
from clsweep.reporting.render.page import LiveSection, page_of
from clsweep.reporting.render.page_terms import TERMS, explained, term, term_of_heading
from clsweep.reporting.render.page_values import page_values, without_nan
from clsweep.reporting.render.summary_texts import references_text
from clsweep.reporting.render.tables import tables
from clsweep.reporting.report_building import build
from clsweep.reporting.report_data import ReportData
from clsweep.reporting.summary import ranking, what_can_be_said
from tests.support.pages import Page
from tests.support.records import Record, make_record, make_study, two_task_rows, write_study
from tests.support.snippets import HOUSE

HOSTILE = '<img src=x onerror="alert(1)">&amp;</script><script>alert(2)</script>{{script}}\u2028'


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    records = make_study(("EWC", "MAS"), n_values=5)
    return build(write_study(tmp_path_factory.mktemp("page") / "results", records))


def parsed(data: ReportData) -> Page:
    return Page(page_of(data).encode())


def test_every_protocol_can_be_picked(data: Any) -> None:
    picks = {pick["name"]: pick["chosen"] for pick in page_values(data)["picks"]}
    best = picks.pop("best average accuracy")
    assert best == {s.pick.label: s.index for s in data.scores["average"]}
    assert picks == {
        f"protocol {rule.name}": {s.pick.label: s.index for s in data.scores[rule.name]}
        for rule in data.protocols
        if rule.name != "average"
    }
    assert "protocol target" in picks


def choices(values: dict[str, Any], required: float) -> dict[str, int | None]:
    """What the slider chooses at a required target accuracy in percent, written once more."""
    level = required / 100 - values["slider"]["offset"] - 1e-12
    found: dict[str, int | None] = {}
    for curve in curves_of(values):
        points = [point["choice"] for point in curve["points"]]
        met = [i for i, (_, target) in enumerate(points) if target >= level]
        best = max(met, key=lambda i: points[i][0], default=None)
        found[curve["label"]] = best
    return found


def curves_of(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [series for series in values["series"] if series["kind"] == "curve"]


class TestValues:
    def test_the_marks_of_the_slider_choose_what_the_tables_print(self, data: Any) -> None:
        values = page_values(data)
        marks = values["slider"]["marks"]
        texts = ["1 point below fine-tuning", "5 points below fine-tuning"]
        assert [mark["text"] for mark in marks] == texts
        picked = set()
        for mark, requirement in zip(marks, data.comparison.requirements, strict=True):
            assert mark["value"] == pytest.approx(100 * requirement.target, abs=1e-12)
            assert choices(values, mark["value"]) == requirement.chosen
            picked |= {(label, i) for label, i in requirement.chosen.items()}
        assert len(picked) > len(data.comparison.curves)

    def test_slider_spans_marks_and_all_points(self, data: Any) -> None:
        slider = page_values(data)["slider"]
        offset = slider["offset"]
        targets = [
            100 * (point.mean("validation")[1] + offset)
            for curve in data.comparison.curves
            for point in curve.points
        ]
        assert slider["low"] <= min(targets) < slider["low"] + 2 * slider["step"]
        assert max(targets) <= slider["high"]
        assert all(slider["low"] <= m["value"] <= slider["high"] for m in slider["marks"])

    def test_points_are_means_and_errors_of_test_data_with_their_seeds(self, data: Any) -> None:
        curve = data.comparison.curves[0]
        shown = curves_of(page_values(data))[0]
        for point, values in zip(curve.points, shown["points"], strict=True):
            assert np.array(values["seeds"]) == pytest.approx(100 * point.test_S2, abs=0.006)
            for index, name in enumerate("xy"):
                of_seeds = 100 * point.test_S2[:, index]
                error = np.std(of_seeds, ddof=1) / np.sqrt(3)
                assert values[name] == pytest.approx([np.mean(of_seeds), error], abs=6e-4)

    def test_every_configuration_and_reference_is_one_point(self, data: Any) -> None:
        series = page_values(data)["series"]
        n_points = sum(len(curve.points) for curve in data.comparison.curves)
        ends = len(data.comparison.references) + (data.comparison.source_end is not None)
        assert sum(len(one["points"]) for one in series) == n_points + ends
        for curve, one in zip(data.comparison.curves, series, strict=False):
            assert {*one["front"]} == {*np.flatnonzero(curve.on_front).tolist()}
        assert "λ=100" in [point["text"] for point in series[0]["points"]]

    def test_knob_is_logarithmic_and_has_a_line_in_its_order(self, tmp_path: Path) -> None:
        lams = (0.0, 1.0, 100.0)
        records = [
            make_record(hyper={"lam": lam}, accuracy=two_task_rows(0.97, 0.6 + lam / 1000, 0.9))
            for lam in lams
        ]
        (series,) = curves_of(page_values(build(write_study(tmp_path / "results", records))))
        knob = {"name": "λ", "isLog": True, "low": 0.0, "high": 100.0, "lines": [[0, 1, 2]]}
        assert series["knob"] == knob
        assert [point["knob"] for point in series["points"]] == [*lams]
        assert [point["x"][0] for point in series["points"]] == [60.0, 60.1, 70.0]

    def test_a_search_over_two_numbers_has_no_line(self, tmp_path: Path) -> None:
        records = [
            make_record(hyper={"lam": lam, "alpha": alpha}, knobs={"lam": lam})
            for lam, alpha in ((1.0, 0.1), (20.0, 0.3), (300.0, 0.2))
        ]
        (series,) = curves_of(page_values(build(write_study(tmp_path / "results", records))))
        assert series["knob"]["lines"] == []
        assert [point["knob"] for point in series["points"]] == [1.0, 20.0, 300.0]

    def test_matrix_is_the_mean_over_seeds_of_the_best(self, tmp_path: Path) -> None:
        rows = ((0.9, 0.5, 0.8), (0.8, 0.6, 0.9))
        records = [
            make_record(seed=seed, accuracy=two_task_rows(*row)) for seed, row in enumerate(rows)
        ]
        values = page_values(build(write_study(tmp_path / "results", records)))
        ((matrix),) = without_nan(values["matrices"]).values()
        assert matrix == {"first": 1, "rows": [[85.0, None], [55.0, 85.0]]}


class TestTables:
    def test_one_table_has_every_number_that_the_terminal_prints(self, data: Any) -> None:
        page = parsed(data)
        shown = {text.strip() for text in page.texts}
        n = 0
        for table in tables(data):
            if table.name in ("pairs", "source-pairs"):
                continue
            for section in table.sections:
                for row in section.rows:
                    missing = {str(cell).rstrip() for cell in row} - shown
                    assert not missing - {""}, (table.name, row)
                    n += len(row)
        assert n > 150

    def test_methods_stand_by_rank_and_references_after_them(self, data: Any) -> None:
        text = page_of(data)
        body = text[text.index('id="numbers-table"') :].partition("</table>")[0]
        labels = re.findall(r'<th scope="row"><span[^>]*></span>([^<]*)</th>', body)
        assert labels[:2] == [row.label for row in ranking(data)]
        assert labels[2:-1] == [curve.label for curve in data.comparison.references]
        assert labels[-1] == data.comparison.source_end.label

    def test_every_heading_of_a_number_is_explained(self, data: Any) -> None:
        keys = {term.key for term in TERMS}
        headings = [
            (table.name, column.name)
            for table in tables(data)
            if table.name not in ("pairs", "source-pairs")
            for column in table.columns
            if column.name != "method"
        ]
        assert len(headings) > 40
        for table, heading in headings:
            key = term_of_heading(table, heading)
            assert key in keys, (table, heading)
            assert key != "measure", "no number of the user's is here"

    def test_terms_are_links_to_entries_of_the_glossary(self, data: Any) -> None:
        page = parsed(data)
        ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
        assert len(ids) == len({*ids})
        links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
        assert len([link for link in links if link and link.startswith("#term-")]) > 40
        assert {link[1:] for link in links if link} <= {*ids}
        assert explained("<b> knob, knob") == f"&lt;b&gt; {term('knob', 'knob')}, knob"
        assert explained("do `seeds = 6` `") == f"do `{term('seed', 'seeds')} = 6` `"
        assert explained("do `seeds = 6`") == "do <code>seeds = 6</code>"

    def test_navigation_has_the_headings(self, data: Any) -> None:
        text = page_of(data)
        navigation = re.findall(r'<li><a href="#([\w-]+)">([^<]+)</a></li>', text)
        headings = re.findall(r'<h2 id="([\w-]+)-heading">([^<]+)</h2>', text)
        assert navigation == headings
        assert len(headings) == 10


class TestPairs:
    def test_only_claims_are_coloured_and_both_ways(self, tmp_path: Path) -> None:
        records = make_study(("EWC", "MAS"), n_values=5, n_seeds=6)
        found = build(write_study(tmp_path / "results", records))
        (pair,) = found.judgement.average_pairs
        assert pair.is_claim
        text = page_of(found)
        n_claims = sum(
            one.is_claim
            for pairs in (
                found.judgement.average_pairs,
                *found.judgement.source_pairs,
                found.judgement.hypervolume_pairs,
            )
            for one in pairs
        )
        assert text.count('class="claim-above"') == text.count('class="claim-below"') == n_claims
        mean = f"{100 * pair.interval.mean:.1f}"
        row = re.search(rf'<th scope="row">{pair.above}</th>.*?</tr>', text[text.index("pairs") :])
        assert row is not None
        assert f'<td class="claim-above">+{mean}<span class="star">*</span>' in text
        assert f'<td class="claim-below">−{mean}<span class="star">*</span>' in text
        assert "1 of 1 pairs can be told apart by average accuracy" in "".join(
            Page(text.encode()).texts
        )

    def test_without_a_claim_none_is(self, data: Any) -> None:
        text = page_of(data)
        assert 'class="claim' not in text.partition("<script")[0]
        assert "None of 1 pair" in text
        for pair in Page(text.encode()).values["pairs"]:
            assert pair[-1] is False


class TestFile:
    def test_nothing_is_fetched_and_only_named_scripts_run(self, data: Any) -> None:
        content = page_of(data).encode()
        page = Page(content)
        addresses = [a for _, attrs in page.tags for n, a in attrs.items() if n in ("src", "href")]
        assert [a for a in addresses if a and not a.startswith(("#", "data:"))] == []
        policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
        assert policy is not None
        assert "default-src 'none'" in policy
        allowed = set(re.findall(r"'sha256-([^']+)'", policy))
        digests = [hashlib.sha256(s.encode()).digest() for s in page.scripts[1:]]
        assert {base64.b64encode(d).decode() for d in digests} == allowed
        assert len(digests) == 1

    def test_the_page_of_the_quickstart_is_small(self) -> None:
        found = build(HOUSE / "results" / "reference" / "quickstart")
        assert len(page_of(found).encode()) < 200_000

    @pytest.mark.slow
    def test_the_page_of_ten_thousand_trials_is_small(self, tmp_path: Path) -> None:
        records = make_study(n_values=330, n_seeds=6)
        assert len(records) > 9_900
        found = build(write_study(tmp_path / "results", records))
        content = page_of(found).encode()
        assert len(content) < 2e6
        values = Page(content).values
        assert sum(len(curve["points"]) for curve in curves_of(values)) * 6 > 9_900

    def test_a_live_section_stands_on_top_and_only_its_script_may_fetch(self, data: Any) -> None:
        live = LiveSection('<p id="now">12 of 40</p>', "start(1)", "#now { color: red }")
        text = page_of(data, live=live, title="<running>")
        page, plain = Page(text.encode()), page_of(data)
        assert [s for s in page.scripts[1:] if s not in plain] == ["start(1)"]
        digest = base64.b64encode(hashlib.sha256(b"start(1)").digest()).decode()
        assert digest in text
        assert "connect-src 'self'" in text
        assert "connect-src" not in plain
        assert text.index('<p id="now">') < text.index("<section")
        assert "#now { color: red }" in text
        assert "<h1>&lt;running&gt;</h1>" in text

    def test_texts_of_the_terminal_are_in_it(self, data: Any) -> None:
        text = "".join(parsed(data).texts)
        said = (*what_can_be_said(data), *findings(data)[:3], references_text(data, False))
        for words in (*data.notes, *said, data.title, "best average accuracy (%)", "λ=10000"):
            assert words[1:].replace("`", "") in text, "an N is written for an n"
        assert 'name = "synthetic"' in text
        assert "torch (trials)" in text

    @pytest.mark.parametrize("where", ["label", "message", "study", "version"])
    def test_hostile_text_stays_text(self, where: str, tmp_path: Path) -> None:
        records = make_study(("EWC",), n_values=3)
        clean = parsed(build(write_study(tmp_path / "clean", records)))
        toml = None
        if where == "label":
            records += [relabelled(r) for r in make_study(("MAS",), n_values=3, references=())]
        elif where == "message":
            records.append(make_record(hyper={"lam": 7.0}, status="failed", message=HOSTILE))
        elif where == "version":
            records[0]["trial"]["versions"] = {HOSTILE: HOSTILE}
        else:
            name = HOSTILE.replace('"', '\\"').replace("\u2028", "\\u2028")
            toml = f'name = "{name}"\n# {HOSTILE}\n'
        folder = tmp_path / "results"
        write_study(folder, records, *([] if toml is None else [toml]))
        page = parsed(build(folder))
        kinds = {"img", "script", "style", "iframe"}
        found = [t for t, _ in page.tags if t in kinds]
        assert found == [t for t, _ in clean.tags if t in kinds]
        assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
        assert all((attrs["href"] or "").startswith("#") for t, attrs in page.tags if t == "a")
        assert page.scripts[1:] == clean.scripts[1:]
        # A line ends at U+2028 in a message.
        assert HOSTILE.rstrip("\u2028") in page.text
        assert "<" not in page.scripts[0]


def relabelled(record: Record) -> Record:
    parts = {part: {**record[part], "label": HOSTILE} for part in ("trial", "config")}
    return {**record, **parts}


def broken(record: Record) -> Record:
    trial = {**record["trial"], "status": "failed", "message": "no memory left\nTraceback"}
    return {**record, "trial": trial, "accuracy": []}


def without_target(record: Record) -> Record:
    rows = [row for row in record["accuracy"] if row[:2] != [1, 1]]
    return {**record, "accuracy": rows}


class TestOddStudies:
    def test_only_failed_trials(self, tmp_path: Path) -> None:
        records = [broken(r) for r in make_study(("EWC",), n_values=3)]
        page = parsed(build(write_study(tmp_path / "results", records)))
        assert "no memory left" in page.text
        assert "Traceback" not in page.text
        assert page.values["emptiness"] == "no configuration has finished with every seed"
        assert page.values["matrices"] == {}
        assert "did not finish with every seed" in page.text

    def test_with_failed_trials_every_table_has_an_id_of_its_own(self, tmp_path: Path) -> None:
        records = make_study(("EWC", "MAS", "SI"), n_values=5)
        records.append(broken(make_study(("LwF",), n_values=3, references=())[0]))
        found = build(write_study(tmp_path / "results", records))
        ids = re.findall(r' id="([^"]+)"', page_of(found))
        assert "table-failures" in ids
        assert len(ids) == len({*ids})
        names = {column.name for table in tables(found) for column in table.columns}
        assert "cross-fitted" in names

    def test_what_diverged_is_named_in_tables_figure_and_slider(self, tmp_path: Path) -> None:
        records = make_study(("EWC", "MAS"), n_values=3)
        for record in records:
            if record["trial"]["label"] == "MAS" and record["trial"]["seed"] == 1:
                record["trial"]["status"], record["accuracy"] = "diverged", []
        page = parsed(build(write_study(tmp_path / "results", records)))
        assert "MAS: 3 of 3 configurations diverged, in 3 trials of 1 seed" in "".join(page.texts)
        absences = {one["label"]: one["absence"] for one in page.values["series"]}
        assert (absences["MAS"], absences["EWC"]) == ("diverged", "")
        assert page.values["notes"] == [
            "diverged, not drawn: MAS 3 of 3",
            "source model, target: chance, not measured",
        ]

    def test_one_method_one_seed(self, tmp_path: Path) -> None:
        records = make_study(("EWC",), n_values=3, n_seeds=1, references=())
        values = page_values(build(write_study(tmp_path / "results", records)))
        assert values["slider"]["marks"] == []
        assert values["slider"]["finetuning"] is None
        page = parsed(build(tmp_path / "results"))
        assert "One seed only" in page.text
        assert page.values["series"][0]["points"][0]["x"][1] is None

    def test_missing_rows_are_shown_as_nothing(self, tmp_path: Path) -> None:
        records = [without_target(r) for r in make_study(("EWC",), n_values=3)]
        page = parsed(build(write_study(tmp_path / "results", records)))
        (point, *_) = page.values["series"][0]["points"]
        assert point["y"][0] is None
        assert point["x"][0] is not None
        assert "–" in page.text

    def test_no_trial_is_said_without_a_traceback(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["report", str(write_study(tmp_path / "results", []))]) == 2
        assert "there are no finished trials to report" in capsys.readouterr().err
