"""What is read is data and never code; what is written stays in its folder and tells no secret."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import xml.etree.ElementTree as xml
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from clsweep.errors import ClsweepError, StoreError, StudyError
from clsweep.execution import stage_cache
from clsweep.nets.torchvision_models import state_dict
from clsweep.records.schema import normalized
from clsweep.redaction import without_secrets
from clsweep.reporting.render.table_formats import csv_bytes, latex_bytes
from clsweep.reporting.report_table import Cell, ReportTable, Section, report_table
from clsweep.storage.attempts import mark_attempt
from clsweep.storage.disk import write_atomically
from clsweep.storage.lock import FolderLock
from clsweep.storage.store import Store
from clsweep.study.study import parse_study
from clsweep.text import is_printable, printable, shortened
from tests.support.command_line import CommandLine, tiny_study
from tests.support.records import STUDY_TOML, make_record, make_study, write_study

HOUSE = Path(__file__).parents[2]

# What turns data into code, and where the package may use it nevertheless.
CODE = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "marshal",
    "shelve",
    "joblib",
    "yaml",
    "subprocess",
    "ctypes",
}
CALLS = {"eval", "exec", "compile", "__import__"}
METHODS = {"load", "system", "popen", "import_module", "read_pickle", "spawn", "execv"}
ALLOWED = {
    # The user's own network: the study file names it, and asks for it to be run.
    ("nets/modules.py", "importlib.import_module"),
    # Whatever else of the user's own a study file, or a command line, names and asks to be run.
    ("user_code.py", "importlib.import_module"),
    # Programs of clsweep itself, which look at what cannot be imported here.
    ("doctor/doctor.py", "subprocess"),
    # NVIDIA's own tool, asked how the GPUs are shared.
    ("doctor/gpu_checks.py", "subprocess"),
    # Python itself, on a module of clsweep, to compute the same numbers in another process.
    ("conformance/elsewhere.py", "subprocess"),
    # git, asked for the commit of the code that the user runs.
    ("execution/code_repository.py", "subprocess"),
    # Python's own call that interrupts a thread.
    ("training/guarded_code.py", "ctypes"),
    # Names out of tables of the package itself.
    ("__init__.py", "importlib.import_module"),
    ("methods/__init__.py", "importlib.import_module"),
    ("execution/ray/internals.py", "importlib.import_module"),
    # Weights that the user names; `weights_only` unpickles tensors and nothing else.
    ("nets/torchvision_models.py", "torch.load"),
    # The name of an error alone, which torch raises of a damaged file; nothing is unpickled by it.
    ("data/datasets.py", "pickle"),
    # Pixels that clsweep has decoded itself; `allow_pickle=False` stands in the call.
    ("data/kept_pixels.py", "np.load"),
    ("data/kept_pixels.py", "np.load with ['mmap_mode', 'allow_pickle']"),
    # clsweep's own stage cache: safetensors.
    ("execution/worker.py", "cache.load"),
}


def suspicious(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """(what, where) of everything in a module that could run data."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            names = [module, *(alias.name for alias in node.names)]
            yield from ((n, node) for n in names if n.partition(".")[0] in CODE)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            base, _, name = called.rpartition(".")
            if called in CALLS or (name in METHODS and base in ("torch", "np", "numpy", "os")):
                yield called, node
            elif called in ("importlib.import_module", "cache.load", "pd.read_pickle"):
                yield called, node
            if any(k.arg in ("allow_pickle", "shell") for k in node.keywords):
                yield f"{called} with {[k.arg for k in node.keywords]}", node


def test_no_module_runs_what_it_reads() -> None:
    for path in sorted((HOUSE / "clsweep").rglob("*.py")):
        for what, node in suspicious(ast.parse(path.read_text(encoding="utf-8"))):
            module = path.relative_to(HOUSE / "clsweep").as_posix()
            assert (module, what) in ALLOWED, f"{what} in {module}"
            if what == "torch.load":
                assert isinstance(node, ast.Call)
                assert any(
                    k.arg == "weights_only" and ast.unparse(k.value) == "True"
                    for k in node.keywords
                )


def test_the_audit_finds_what_it_looks_for() -> None:
    lines = (
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "torch.load(p)",
        "np.load(p, allow_pickle=True)",
        "os.system('x')",
        "run(x, shell=True)",
        "importlib.import_module(x)",
    )
    for line in lines:
        assert list(suspicious(ast.parse(line))), line


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("exploded",)


def test_a_file_of_weights_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"w": Bomb()}, "weights.pth")
    with pytest.raises(StudyError, match="holds no weights"):
        state_dict(Path("weights.pth"), "[net] weights")
    assert not Path("exploded").exists()


def test_the_study_of_a_results_folder_imports_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trap.py").write_text("import os; os.mkdir('exploded')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    net = '[net]\nname = "custom"\nfactory = "trap:build"\n[[methods]]\nname = "ewc"\n'
    toml = STUDY_TOML.partition("[net]")[0] + net
    folder = write_study(tmp_path / "results", make_study(("EWC",), 2, 1), toml)
    run = CommandLine(capsys)
    for words in (("report", folder, "--format", "csv"), ("export", folder, "--optuna", "x.log")):
        run(*words)
    assert not (tmp_path / "exploded").exists()


# ------------------------------------------------------------------------------------- names


OUTSIDE = (
    "../../x",
    "/etc/x",
    "a/b",
    "..",
    ".hidden",
    "",
    "a\x00b",
    "x" * 101,
    "a\nb",
    "ä\x1b[2J",
)
DRIVING = ("\x1b[31mred", "bell\x07", "\u202eCWE", "nul\x00", "a\tb", "\x9b")
SHOWN = ("naïve λ", "\U0001f469\u200d\U0001f52c", "a – b", "[red]x[/]", "<img>", "100 % & _")


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_study_is_named_within_its_folder(name: str) -> None:
    text = STUDY_TOML.replace('"synthetic"', json.dumps(name)) + '[[methods]]\nname = "ewc"\n'
    with pytest.raises(StudyError) as refused:
        parse_study(text)
    assert is_printable(str(refused.value).replace("\n", ""))


@pytest.mark.parametrize("label", DRIVING)
def test_a_label_that_drives_a_terminal_is_refused(label: str) -> None:
    text = f'{STUDY_TOML}[[methods]]\nname = "ewc"\nlabel = {json.dumps(label)}\n'
    with pytest.raises(StudyError, match="label"):
        parse_study(text)
    record = make_record(label=label)
    with pytest.raises(StoreError, match="control characters"):
        normalized(record)


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("label", SHOWN)
def test_other_labels_are_shown_letter_by_letter(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], label: str
) -> None:
    records = make_study(("EWC",), 3, 2)
    for record in records:
        if record["trial"]["method"] == "ewc":
            record["trial"]["label"] = record["config"]["label"] = label
    folder = write_study(tmp_path / "results", records)
    run = CommandLine(capsys)
    assert label in run("report", folder, "--full", "--format", "svg,latex,csv").out
    with (folder / "table_best_average_accuracy.csv").open(encoding="utf-8") as file:
        assert label in [row[0] for row in csv.reader(file)]
    root = xml.parse(folder / "front.svg").getroot()
    kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert not kinds & {"script", "foreignObject", "image", "a", "iframe"}
    assert not [k for e in root.iter() for k in e.attrib if k.startswith("on")]


def test_a_message_that_drives_a_terminal_is_spelt_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = make_study(("EWC",), 3, 1)
    message = "\x1b]0;owned\x07\x1b[2J[red]boom[/red] \u202eevil"
    records.append(make_record(hyper={"lam": 7.0}, status="failed", message=message))
    folder = write_study(tmp_path / "results", records)
    ran = CommandLine(capsys)("report", folder, "--full", "--format", "html")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert r"\x1b]0;owned\x07\x1b[2J[red]boom[/red] \u202eevil" in page
    for text in (ran.out, ran.err, page, (folder / "report.txt").read_text(encoding="utf-8")):
        assert not set(message) & {"\x1b", "\x07", "\u202e"} & set(text)


def test_errors_drive_no_terminal_and_stay_short() -> None:
    error = ClsweepError("\x1b[2J" + "x" * 10**6, where="\u202e", next_step="a\x00b\tc\nd")
    assert is_printable(str(error).replace("\n", "").replace("\t", ""))
    assert r"\x1b[2J" in str(error)
    assert r"\u202e" in str(error)
    assert "a\\x00b\tc\nd" in str(error)
    assert len(str(error)) < 3000


def test_printable_leaves_alone_what_can_be_seen() -> None:
    for text in ("", "plain", "λ → 1\n\ttab", "👩‍🔬", "\u2028", "a\u00a0b"):
        assert printable(text) == text
    assert printable("\x00\x1b\x7f\x9b\u2066\udcff") == r"\x00\x1b\x7f\x9b\u2066\udcff"
    assert shortened("x" * 100, 100) == "x" * 100
    assert shortened("a" * 60 + "b" * 60, 100).endswith("b" * 50)


# ------------------------------------------------------------------------ tables for programs


def table(*labels: str) -> ReportTable:
    section = Section([(label, Cell(-1.0, 0.1)) for label in labels])
    return report_table("T", ["ACC"], "c", [section], with_choice=False)


def test_no_cell_of_text_is_a_formula() -> None:
    labels = ('=HYPERLINK("http://x")', "+1", "-2 ± 1", "@SUM(A1)", "\tx", "a=b", "'=1")
    data = csv_bytes(table(*labels)).decode()
    rows = list(csv.reader(io.StringIO(data)))[1:]
    found = [row[0] for row in rows]
    assert found == ["'" + label for label in labels[:5]] + ["a=b", "'=1"]
    assert {row[1] for row in rows} == {"-1.0"}, "a number stays one"


def test_points_hold_no_formula_either(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = make_study(("EWC",), 3, 1)
    for record in records:
        if record["trial"]["method"] == "ewc":
            record["trial"]["label"] = record["config"]["label"] = "=1+1"
    folder = write_study(tmp_path / "results", records)
    CommandLine(capsys)("report", folder, "--format", "csv")
    for path in folder.glob("*.csv"):
        with path.open(encoding="utf-8") as file:
            assert not [c for row in csv.reader(file) for c in row if c.startswith("=")], path


def test_no_cell_is_a_command_of_latex() -> None:
    label = r"\input{/etc/passwd} % _ & # $x$ ^^M {} ~ \write18{rm}"
    text = latex_bytes(table(label)).decode()
    (row,) = [line for line in text.splitlines() if "textbackslash" in line]
    for escaped in (r"\textbackslash{}input\{/etc/passwd\}", r"\%", r"\_", r"\&", r"\#", r"\$x\$"):
        assert escaped in row
    assert row.count("&") - row.count(r"\&") == 1


# ----------------------------------------------------------------------------------- symlinks


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("precious")
    return path


def test_nothing_is_written_through_a_link(tmp_path: Path, victim: Path) -> None:
    folder = tmp_path / "results"
    write_study(folder, [normalized(make_record())])
    (folder / ".lock").unlink()
    (folder / ".lock").symlink_to(victim)
    with pytest.raises(StoreError, match="cannot write"):
        FolderLock(folder)
    (folder / "records" / "a-0.attempts").symlink_to(victim)
    with pytest.raises(StoreError, match="cannot write"):
        mark_attempt(folder, "a-0")
    temporary = folder / f".x.{os.uname().nodename}.{os.getpid()}.tmp"
    temporary.symlink_to(victim)
    with pytest.raises(StoreError, match="cannot write"):
        write_atomically(folder / "x", b"data")
    assert victim.read_text() == "precious"


def test_a_file_that_is_a_link_is_replaced_and_not_what_it_leads_to(
    tmp_path: Path, victim: Path
) -> None:
    folder = tmp_path / "results"
    record = normalized(make_record())
    write_study(folder, [record])
    for name in ("study.toml", "trials.parquet"):
        elsewhere = tmp_path / name
        (folder / name).rename(elsewhere)
        (folder / name).symlink_to(elsewhere)
    before = {name: (tmp_path / name).read_bytes() for name in ("study.toml", "trials.parquet")}
    with Store(folder).open_for_run("identity", STUDY_TOML + "\n", "synthetic") as store:
        store.commit(make_record(seed=1))
        store.compact()
        assert len(store.load()) == 2
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert not (folder / "trials.parquet").is_symlink()


def test_a_stage_that_is_a_link_is_not_emptied(tmp_path: Path, victim: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("")
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "abc").symlink_to(elsewhere)
    with pytest.raises(ClsweepError, match="cannot be written"):
        stage_cache.commit(tmp_path / "stages", "abc", {"w": torch.zeros(1)}, {})
    assert (elsewhere / "precious").exists()


# ------------------------------------------------------------------------------------ secrets

CANARY = "kB7-canary-4471"


@pytest.mark.parametrize(
    "text",
    [
        f"cannot read s3://AKIA77:{CANARY}@bucket/x",
        f"https://user:{CANARY}@host/path failed",
        f"GET https://host/x?X-Amz-Signature={CANARY}&n=1",
        f"https://host/x?sig={CANARY}",
        f"Authorization: Bearer {CANARY}",
        f"password = '{CANARY}'",
        f'{{"access_token": "{CANARY}"}}',
        f"AWS_SECRET_ACCESS_KEY={CANARY}",
        f"the value was {CANARY} here",
    ],
)
def test_what_grants_access_is_left_out(text: str) -> None:
    told = without_secrets(text, {"HF_TOKEN": CANARY, "HOME": "/home/x"})
    assert CANARY not in told
    assert "[removed]" in told


@pytest.mark.parametrize(
    "text",
    [
        "cannot read s3://bucket/x@1",
        "KeyError: 'token'",
        "RAY_AUTH_MODE=token is not set",
        "a monkey = 12345678 in /home/x/results",
        "mail me@example.org",
        "ValueError: expected 10 tokens, got 12",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert without_secrets(text, {"HF_TOKEN": CANARY, "HOME": "/home/x", "MY_KEY": ""}) == text


LEAKY = """\
import os
import torch

def build(input_shape, n_outputs):
    class Leaky(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Linear(input_shape[1] * input_shape[2], n_outputs)

        def forward(self, x):
            if x.shape[0] == 7 and torch.is_grad_enabled():
                token = os.environ["SERVICE_TOKEN"]
                raise OSError(f"s3://key:{token}@bucket and plain {token}")
            return self.body(x.flatten(1))

    return Leaky()
"""


def test_no_secret_reaches_a_table_a_log_or_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "leaky.py").write_text(LEAKY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SERVICE_TOKEN", CANARY)
    net = 'name = "custom"\nfactory = "leaky:build"'
    more = '[[methods]]\nname = "finetune"\nlabel = "sevens"\ntraining = { batch_size = 7 }\n'
    study = tiny_study(tmp_path, net=net, more=more)
    run, out = CommandLine(capsys), tmp_path / "out"
    ran = run("run", study, "--inline", "--out", out)
    assert ran.code == 1
    assert "s3://[removed]@bucket and plain [removed]" in ran.err
    report = run("report", out, "--full", "--format", "html,csv,latex,svg")
    assert "s3://[removed]@bucket" in (out / "report.html").read_text(encoding="utf-8")
    assert CANARY not in ran.out + ran.err + report.out + report.err
    for path in out.rglob("*"):
        assert path.is_dir() or CANARY.encode() not in path.read_bytes(), path
    messages = [r["trial"]["message"] for r in Store(out).load()]
    assert any("[removed]" in message for message in messages)
