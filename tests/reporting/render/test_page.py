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
from clsweep.reporting.render.page import LiveSection, page_of, page_values
from clsweep.reporting.render.tables import tables
from clsweep.reporting.report_data import ReportData, build
from tests.support.pages import Page
from tests.support.records import Record, make_record, make_study, two_task_rows, write_study

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
    for curve in values["curves"]:
        points = [point["validation"] for point in curve["points"]]
        met = [i for i, (_, target) in enumerate(points) if target >= level]
        best = max(met, key=lambda i: points[i][0], default=None)
        if not curve["is_reference"]:
            found[curve["label"]] = best
    return found


class TestValues:
    def test_the_marks_of_the_slider_choose_what_the_tables_print(self, data: Any) -> None:
        values = page_values(data)
        marks = values["slider"]["marks"]
        assert [mark["text"] for mark in marks] == ["fine-tuning −1", "fine-tuning −5"]
        picked = set()
        for mark, requirement in zip(marks, data.comparison.requirements, strict=True):
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

    def test_points_are_means_and_errors_of_test_data(self, data: Any) -> None:
        curve = data.comparison.curves[0]
        shown = page_values(data)["curves"][0]
        for point, values in zip(curve.points, shown["points"], strict=True):
            for index, name in enumerate(("source", "target")):
                of_seeds = 100 * point.test_S2[:, index]
                error = np.std(of_seeds, ddof=1) / np.sqrt(3)
                assert values[name] == pytest.approx([np.mean(of_seeds), error])

    def test_every_configuration_is_one_point_with_its_seeds(self, data: Any) -> None:
        traces = page_values(data)["figures"]["fronts"]["data"]
        texts = [text for trace in traces for text in trace.get("text", [])]
        n_points = sum(len(curve.points) for curve in data.comparison.curves)
        ends = len(data.comparison.references) + (data.comparison.source_end is not None)
        assert len(texts) == len(set(texts)) == n_points + ends
        (one,) = (text for text in texts if "EWC</b><br>λ=100<br>" in text)
        point = next(p for p in data.comparison.curves[0].points if p.axes["lam"] == 100.0)
        source, target = 100 * point.test_S2[1]
        assert f"seed 1: {source:.1f} · {target:.1f}" in one

    def test_traces_name_the_place_of_their_label(self, data: Any) -> None:
        values = page_values(data)
        for trace in values["figures"]["fronts"]["data"]:
            if "meta" in trace:
                assert values["curves"][trace["meta"]]["label"] == trace["name"]

    def test_response_has_a_point_per_value_and_zero_left_of_the_rest(
        self, tmp_path: Path
    ) -> None:
        lams = (0.0, 1.0, 100.0)
        records = [
            make_record(hyper={"lam": lam}, accuracy=two_task_rows(0.97, 0.6 + lam / 1000, 0.9))
            for lam in lams
        ]
        figure = page_values(build(write_study(tmp_path / "results", records)))["figures"]
        source, target = figure["responses"]["data"]
        assert source["x"] == target["x"] == [0.1, 1.0, 100.0]
        assert source["y"] == [60.0, 60.1, 70.0]
        assert target["y"] == [90.0, 90.0, 90.0]
        axis = figure["responses"]["layout"]["xaxis"]
        assert axis["type"] == "log"
        assert axis["ticktext"][0] == "0"

    def test_a_search_over_two_numbers_has_no_line(self, tmp_path: Path) -> None:
        records = [
            make_record(hyper={"lam": lam, "alpha": alpha}, knobs={"lam": lam})
            for lam, alpha in ((1.0, 0.1), (20.0, 0.3), (300.0, 0.2))
        ]
        figures = page_values(build(write_study(tmp_path / "results", records)))["figures"]
        source, target = figures["responses"]["data"]
        assert {source["mode"], target["mode"]} == {"markers"}
        assert source["x"] == [1.0, 20.0, 300.0]

    def test_matrix_is_the_mean_over_seeds_of_the_best(self, tmp_path: Path) -> None:
        rows = ((0.9, 0.5, 0.8), (0.8, 0.6, 0.9))
        records = [
            make_record(seed=seed, accuracy=two_task_rows(*row)) for seed, row in enumerate(rows)
        ]
        values = page_values(build(write_study(tmp_path / "results", records)))
        (trace,) = values["figures"]["matrices"]["data"]
        assert trace["z"] == [[85.0, None], [55.0, 85.0]]
        assert (trace["x"], trace["y"]) == (["1", "2"], ["1", "2"])


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
        assert len(digests) == 2
        assert len(content) < 6e6

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
        text = parsed(data).text
        for words in (*data.notes, data.title, "Best average accuracy (ACC, %)", "λ=10000"):
            assert words in text
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
        kinds = {"img", "script", "a", "style", "iframe"}
        found = [t for t, _ in page.tags if t in kinds]
        assert found == [t for t, _ in clean.tags if t in kinds]
        assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
        assert page.scripts[1:] == clean.scripts[1:]
        # A line ends at U+2028 in a message.
        assert HOSTILE.rstrip("\u2028") in page.text
        names = [trace.get("name", "") for trace in page.values["figures"]["fronts"]["data"]]
        assert not any("<" in name for name in names)


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
        for figure in page.values["figures"].values():
            (note,) = figure["layout"]["annotations"]
            assert note["text"].startswith("no c")
        assert "did not finish with every seed" in page.text

    def test_with_failed_trials_every_table_has_an_id_of_its_own(self, tmp_path: Path) -> None:
        records = make_study(("EWC", "MAS", "SI"), n_values=5)
        records.append(broken(make_study(("LwF",), n_values=3, references=())[0]))
        found = build(write_study(tmp_path / "results", records))
        ids = re.findall(rb'<figure class="table" id="([^"]+)"', page_of(found).encode())
        assert b"table-failures" in ids
        assert len(ids) == len({*ids}) > 8, "nine tables beside it"
        names = {column.name for table in tables(found) for column in table.columns}
        assert "cross-fitted" in names

    def test_what_diverged_is_named_in_tables_figure_and_slider(self, tmp_path: Path) -> None:
        records = make_study(("EWC", "MAS"), n_values=3)
        for record in records:
            if record["trial"]["label"] == "MAS" and record["trial"]["seed"] == 1:
                record["trial"]["status"], record["accuracy"] = "diverged", []
        page = parsed(build(write_study(tmp_path / "results", records)))
        assert "MAS: 3 of 3 configurations diverged, in 1 seed" in page.text
        absences = {curve["label"]: curve["absence"] for curve in page.values["curves"]}
        assert (absences["MAS"], absences["EWC"]) == ("diverged", "")
        (note,) = page.values["figures"]["fronts"]["layout"]["annotations"]
        assert note["text"] == (
            "diverged, not drawn: MAS 3 of 3; source model, target: chance, not measured"
        )

    def test_one_method_one_seed(self, tmp_path: Path) -> None:
        records = make_study(("EWC",), n_values=3, n_seeds=1, references=())
        values = page_values(build(write_study(tmp_path / "results", records)))
        assert values["slider"]["marks"] == []
        assert values["slider"]["finetuning"] is None
        assert values["curves"][0]["points"][0]["source"][1] != values
        page = parsed(build(tmp_path / "results"))
        assert "One seed only" in page.text
        assert page.values["curves"][0]["points"][0]["source"][1] is None

    def test_missing_rows_are_shown_as_nothing(self, tmp_path: Path) -> None:
        records = [without_target(r) for r in make_study(("EWC",), n_values=3)]
        page = parsed(build(write_study(tmp_path / "results", records)))
        (point, *_) = page.values["curves"][0]["points"]
        assert point["target"][0] is None
        assert point["source"][0] is not None
        assert "–" in page.text

    def test_no_trial_is_said_without_a_traceback(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["report", str(write_study(tmp_path / "results", []))]) == 2
        assert "there are no finished trials to report" in capsys.readouterr().err
