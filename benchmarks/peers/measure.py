"""Measure clsweep beside other ways of running the same studies, in turns within one run.

    python benchmarks/peers/environment.py DIR
    python benchmarks/peers/measure.py ewc   --peer DIR --data-root DATA
    python benchmarks/peers/measure.py seven --peer DIR --data-root DATA
    python benchmarks/peers/measure.py script --peer DIR --data-root DATA --script FOLDER

`ewc`: 12 λ of EWC on two tasks of MNIST, 6,000 images each, 784-400-400, two workers: Avalanche in
Ray Tune as it comes, the same with processes reused and without logs ("lean"), and clsweep.
`seven`: 7 methods × 12 values × 3 seeds with 1,000 images a task. Both run a part of it, 3 values
of one seed (21 trials of 252; --part-values, --part-seeds), and then clsweep the whole as well,
unless --quick is given.
`script`: the comparison script of github.com/GMvandeVen/continual-learning, of which FOLDER is a
copy (nothing of it is kept here), with eight methods and few iterations, in its one process.

Of each, or of the part: the whole study; the same started anew, killed with SIGKILL halfway, and
resumed as its documentation says; and extended by half: 6 values more of 12, or a third seed
beside two. That of Avalanche is a second study of the new values alone, since a Tuner's grid
cannot grow. What has not ended after --limit seconds is killed and printed, and has no row.

A row per part is added to `runs.csv` beside this file. `wall` is the whole process, `jobs` from
the first job's start to the last one's end, `cpu` the user and system seconds of all processes: on
a busy machine it says more than the clock. `files` are those in the results folder, `load` is the
load average before and after, `state` what --state says of the machine. The script does not say
when a job starts, so that it has no `jobs`.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from processes import Measured, measured
from studies import (
    GRIDS,
    SCRIPT,
    Grid,
    for_avalanche,
    for_clsweep,
    for_clsweep_as_the_script,
    values_of,
)

HERE = Path(__file__).resolve().parent
COLUMNS = "at study tool part trials wall jobs cpu files load state versions".split()
N_VALUES, N_WORKERS = 12, 2

Row = dict[str, Any]


class Bench:
    """Where runs go, and the table that they are written to."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        self.options, self.scratch = options, scratch
        self.data_root = str(options.data_root.resolve())
        self.python = str(options.peer.absolute() / "bin" / "python")
        self.theirs = self._versions([self.python, str(HERE / "avalanche_study.py"), "--versions"])
        ours = "import clsweep.versions as v; import json; print(json.dumps(v.versions()))"
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True
        ).stdout.strip()
        self.ours = f"{self._versions([sys.executable, '-c', ours])} commit {commit}"

    @staticmethod
    def _versions(command: list[str]) -> str:
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        names = ("avalanche-lib", "clsweep", "ray", "torch", "torchvision")
        return " ".join(f"{name} {found[name]}" for name in names if found.get(name))

    def note(self, row: Row) -> None:
        """Add a row to the table, and print it."""
        row["state"] = self.options.state
        row["at"] = datetime.now(timezone.utc).isoformat(timespec="seconds")
        print({name: row[name] for name in COLUMNS if name != "versions"}, flush=True)
        is_new = not self.options.table.exists()
        with self.options.table.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)


class Tool:
    """One way of running a study.

    Args:
        bench: where.
        name: as the table has it.
        command: (file of the study, results folder, file for events) -> the words.
        told: (the run's output, file of events) -> (trials that ended, seconds of jobs or "").
        versions: of it and what it runs on.
    """

    def __init__(
        self,
        bench: Bench,
        name: str,
        command: Callable[[Path, Path, Path], list[str]],
        told: Callable[[str, Path], tuple[int, float | str]],
        versions: str,
        folder: Path = HERE,
    ) -> None:
        self.bench, self.name, self.command, self.told = bench, name, command, told
        self.versions, self.folder = versions, folder

    def run(self, study: str, part: str, text: str, out: str, kill_after: float = 0.0) -> Measured:
        """Run the study in its results folder, which may hold a part of it already."""
        own = self.bench.scratch / f"{study}-{self.name.replace(' ', '-')}-{out}"
        own.mkdir(exist_ok=True)
        (own / "study").write_text(text, encoding="utf-8")
        events = own / f"{part}.events"
        load = os.getloadavg()[0]
        words = self.command(own / "study", own / "out", events)
        limit = self.bench.options.limit
        found = measured(words, own / f"{part}.log", self.folder, kill_after or limit)
        loads = f"{load:.1f} {os.getloadavg()[0]:.1f}"
        output = (own / f"{part}.log").read_text(encoding="utf-8", errors="replace")
        if found.was_killed and not kill_after:
            print(f"{study}, {self.name}, {part}: not ended after {limit:.0f} s", flush=True)
        elif found.code and not kill_after:
            raise SystemExit(f"{self.name} ended with {found.code}:\n{output[-3000:]}")
        elif not kill_after:
            trials, jobs = self.told(output, events)
            row = {"study": study, "tool": self.name, "part": part, "trials": trials}
            times = {"wall": round(found.wall, 1), "jobs": jobs}
            files = sum(path.is_file() for path in (own / "out").rglob("*"))
            rest = {"cpu": round(found.cpu, 1), "files": files, "load": loads}
            self.bench.note({**row, **times, **rest, "versions": self.versions})
        return found


def _last_json(output: str) -> dict[str, Any]:
    return json.loads([line for line in output.splitlines() if line.startswith("{")][-1])


def avalanche(bench: Bench, lean: bool) -> Tool:
    """Avalanche in Ray Tune."""

    def command(study: Path, out: Path, events: Path) -> list[str]:
        words = [bench.python, str(HERE / "avalanche_study.py"), str(study), str(out)]
        more = ["--data-root", bench.data_root, "--workers", str(N_WORKERS)]
        return [*words, *more, *(["--lean"] if lean else [])]

    def told(output: str, events: Path) -> tuple[int, float]:
        found = _last_json(output)
        if found["n_errors"]:
            raise SystemExit(f"{found['n_errors']} trials of Avalanche failed:\n{output[-3000:]}")
        return found["n_trials"], round(found["ended"] - found["began"], 1)

    name = "avalanche lean" if lean else "avalanche"
    return Tool(bench, name, command, told, bench.theirs)


def clsweep(bench: Bench) -> Tool:
    """The command line."""

    def command(study: Path, out: Path, events: Path) -> list[str]:
        file = study.rename(study.with_suffix(".toml"))
        words = [sys.executable, "-m", "clsweep", "run", str(file), "--out", str(out)]
        more = ["--data-root", bench.data_root, "--workers", str(N_WORKERS)]
        return [*words, *more, "--log-json", str(events)]

    def told(output: str, events: Path) -> tuple[int, float]:
        lines = [json.loads(line) for line in events.read_text().splitlines()]
        ended = [line for line in lines if line["event"] == "finished"]
        bad = [line for line in ended if line["status"] != "ok"]
        if bad:
            raise SystemExit(f"{len(bad)} jobs did not end well, the first: {bad[0]}")
        times = [
            datetime.fromisoformat(line["time"])
            for line in lines
            if line["event"] in ("started", "finished")
        ]
        trials = sum(line["kind"] == "trial" for line in ended)
        return trials, round((max(times) - min(times)).total_seconds(), 1)

    return Tool(bench, "clsweep", command, told, bench.ours)


def script(bench: Bench) -> Tool:
    """Van de Ven's comparison script, which looks for its data in a folder of its own."""
    data = bench.scratch / "datasets"
    data.mkdir()
    (data / "MNIST").symlink_to(bench.data_root)

    def command(study: Path, out: Path, events: Path) -> list[str]:
        out.mkdir(exist_ok=True)
        more = ["--n-seeds", study.read_text(), "--data-dir", str(data)]
        folders = {"results": out, "plot": out, "model": out}
        places = [word for key, at in folders.items() for word in (f"--{key}-dir", str(at))]
        return [bench.python, *SCRIPT, *more, *places]

    def told(output: str, events: Path) -> tuple[int, str]:
        return output.count("...running:"), ""

    folder = bench.options.script.resolve()
    return Tool(bench, "van de Ven", command, told, bench.theirs, folder)


def compare_grid(bench: Bench, study: str, tools: list[Tool], parts: Iterable[str]) -> None:
    """A study of `studies.GRIDS`, all tools in turn."""
    grid, options = GRIDS[study], bench.options
    if study != "seven":
        for tool in tools:
            _parts_of_grid(tool, study, grid, N_VALUES, parts)
        return
    for tool in tools:
        part = grid._replace(seeds=options.part_seeds)
        _parts_of_grid(tool, study, part, options.part_values, parts, "part")
    for tool in tools:
        if tool.name == "clsweep" and not options.quick:
            _parts_of_grid(tool, study, grid, N_VALUES, ())


def _parts_of_grid(
    tool: Tool, study: str, grid: Grid, n: int, parts: Iterable[str], whole: str = "whole"
) -> None:
    """A grid of N values by one tool; extended and resumed where `parts` asks for it."""
    seeds = list(range(grid.seeds))
    values, extended = values_of(grid, n), values_of(grid, n, extended=True)
    prefix = "" if whole == "whole" else f"{whole} "
    took = tool.run(study, whole, _text(tool, grid, values, seeds), whole).wall
    if "extended" in parts:
        if tool.name == "clsweep":
            tool.run(study, f"{prefix}extended", _text(tool, grid, extended, seeds), whole)
        else:
            only_new = {m: [v for v in extended[m] if v not in values[m]] for m in values}
            text = _text(tool, grid, only_new, seeds)
            tool.run(study, f"{prefix}extended", text, f"{whole}-extended")
    if "resumed" in parts:
        text, out = _text(tool, grid, values, seeds), f"{whole}-killed"
        tool.run(study, f"{prefix}killed", text, out, kill_after=took / 2)
        tool.run(study, f"{prefix}resumed", text, out)


def _text(tool: Tool, grid: Grid, values: dict[str, list[float]], seeds: list[int]) -> str:
    if tool.name == "clsweep":
        return for_clsweep(grid, values)
    return for_avalanche(grid, values, seeds)


def compare_script(bench: Bench, tools: list[Tool], parts: Iterable[str]) -> None:
    """The parts of the comparison script, both tools in turn."""
    for tool in tools:
        text = for_clsweep_as_the_script if tool.name == "clsweep" else str
        n = bench.options.seeds
        took = tool.run("script", "whole", text(n), "whole").wall
        if "extended" in parts:
            tool.run("script", "extended", text(n + max(n // 2, 1)), "whole")
        if "resumed" in parts:
            tool.run("script", "killed", text(n), "killed", kill_after=took / 2)
            tool.run("script", "resumed", text(n), "killed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", choices=("ewc", "seven", "script"))
    parser.add_argument("--peer", type=Path, required=True, help="made by environment.py")
    parser.add_argument("--data-root", type=Path, required=True, help="holds MNIST/raw")
    parser.add_argument("--script", type=Path, help="copy of van de Ven's repository")
    parser.add_argument("--only", nargs="*", help="tools by name; default: all")
    parser.add_argument("--parts", nargs="*", default=["extended", "resumed"])
    parser.add_argument("--seeds", type=int, default=2, help="of `script`")
    parser.add_argument("--part-values", type=int, default=3, help="of `seven`")
    parser.add_argument("--part-seeds", type=int, default=1, help="of `seven`")
    parser.add_argument("--quick", action="store_true", help="`seven` without the whole grid")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds for a part")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--state", default="idle", help="a word on the machine, for the table")
    parser.add_argument("--table", type=Path, default=HERE / "runs.csv")
    options = parser.parse_args()
    if options.study == "script" and not options.script:
        parser.error("--script is needed: a copy of GMvandeVen/continual-learning")
    for _ in range(options.rounds):
        scratch = Path(tempfile.mkdtemp(prefix="peers-"))
        bench = Bench(options, scratch)
        if options.study == "script":
            tools = [script(bench), clsweep(bench)]
        elif options.study == "seven":
            tools = [avalanche(bench, lean=True), clsweep(bench)]
        else:
            tools = [avalanche(bench, lean=False), avalanche(bench, lean=True), clsweep(bench)]
        tools = [tool for tool in tools if not options.only or tool.name in options.only]
        if options.study == "script":
            compare_script(bench, tools, options.parts)
        else:
            compare_grid(bench, options.study, tools, options.parts)
        shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
