"""Results of other data, weights or code are neither mixed nor reused, whatever their names."""

from __future__ import annotations

import gzip
import hashlib
import importlib
import json
import os
import shutil
import socket
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from clsweep.data.benchmark_specs import SplitBenchmark
from clsweep.data.published_datasets import PUBLISHED
from clsweep.errors import StoreError
from clsweep.execution import loaded_inputs, outcomes, worker
from clsweep.records.recorded_inputs import fingerprints_of, input_differences, stage_inputs
from clsweep.reporting.report_building import build
from clsweep.storage.store import Store
from clsweep.study import input_fingerprints, planning
from clsweep.study.configurations import configurations
from clsweep.study.input_fingerprints import data_inputs, inputs_of
from clsweep.study.study import load_study
from tests.support import records
from tests.support.command_line import CommandLine, tiny_study

pytestmark = pytest.mark.usefixtures("figures_drawn_once")

PETS = """\
name = "pets"
seeds = [0]
[benchmark]
name = "split"
dataset = "folder:pets"
n_tasks = 2
validation_fraction = 0.25
[net]
hidden = [4]
[training]
steps = 2
batch_size = 4
[[methods]]
name = "finetune"
[[methods]]
name = "ewc"
lam = 1.0
"""


def make_pets(folder: Path, first: int) -> Path:
    """`folder`/pets: four classes of four images of one grey; those of c0 are `first`."""
    for label, grey in zip(("c0", "c1", "c2", "c3"), (first, 90, 160, 230), strict=True):
        for part in ("train", "test"):
            for n in range(4):
                path = folder / "pets" / part / label / f"{n}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.full((6, 6), grey, np.uint8)
                pixels[n, "train test".split().index(part)] += 9  # no two are equal
                Image.fromarray(pixels).save(path)
    return folder


@pytest.fixture
def cli(capsys: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CLSWEEP_DATA", raising=False)
    return CommandLine(capsys)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    path = tmp_path / "pets.toml"
    path.write_text(PETS)
    make_pets(tmp_path / "a", 20)
    make_pets(tmp_path / "b", 60)
    return path


def run(cli: CommandLine, study: Path, *more: object) -> Any:
    return cli("run", study, "--inline", "--quiet", *more)


def from_data(root: str) -> tuple[str, str]:
    return "--data-root", root


class TestOtherData:
    def test_they_are_refused_before_anything_is_trained(self, cli, pets, tmp_path):
        assert run(cli, pets, *from_data("a")).code == 0
        before = pq.read_table("results/pets/accuracy.parquet")
        (one,) = inputs_of(load_study(pets, tmp_path / "a"), tmp_path / "a")
        (two,) = inputs_of(load_study(pets, tmp_path / "b"), tmp_path / "b")
        words = (
            "data 'folder:pets'",
            f"{one.fingerprint[:12]} then",
            f"{two.fingerprint[:12]} now",
            "changed: test/c0, train/c0",
            "results/pets",
            "put back",
            "--out",
        )
        stored = sorted(Path("results/pets/stages").iterdir())
        longer = pets.with_name("longer.toml")
        longer.write_text(pets.read_text().replace("seeds = [0]", "seeds = [0, 1]"))
        for study in (pets, longer):
            for command in (("run", study, "--inline"), ("plan", study)):
                cli(*command, *from_data("b")).is_mistake(*words)
        assert pq.read_table("results/pets/accuracy.parquet") == before
        assert sorted(Path("results/pets/stages").iterdir()) == stored
        assert run(cli, longer, *from_data("a")).code == 0

    def test_the_same_data_elsewhere_go_on(self, cli, pets, tmp_path):
        run(cli, pets, *from_data("a"))
        shutil.copytree(tmp_path / "a", tmp_path / "copy")
        ran = run(cli, pets, *from_data("copy"))
        assert ran.code == 0
        assert "0 by this run" in ran.out
        assert "warning" not in ran.err

    def test_stages_of_other_data_are_not_reused(self, cli, pets):
        shared = ("--stages", "shared")
        run(cli, pets, *from_data("a"), "--out", "one", *shared)
        n_stages = len([*Path("shared").iterdir()])
        assert "0 source models" in cli("plan", pets, *from_data("a"), "--out", "x", *shared).out
        planned = cli("plan", pets, *from_data("b"), "--out", "two", *shared).out
        assert "1 source model" in planned
        assert "0 in the cache" in planned
        ran = run(cli, pets, *from_data("b"), "--out", "two", *shared)
        assert "1 trained" in ran.out
        assert len([*Path("shared").iterdir()]) == 2 * n_stages
        one, two = (
            pq.read_table(f"{name}/accuracy.parquet").column("n_correct")
            for name in ("one", "two")
        )
        run(cli, pets, *from_data("b"), "--out", "alone")
        assert two == pq.read_table("alone/accuracy.parquet").column("n_correct")
        assert len(one) == len(two)

    @pytest.mark.parametrize("edit", ["pixel", "class name", "file name", "one more", "one less"])
    def test_every_edit_of_a_folder_is_noticed(self, edit, cli, pets, tmp_path):
        run(cli, pets, *from_data("a"))
        folder = tmp_path / "a" / "pets"
        image = folder / "train" / "c1" / "2.png"
        changed = "changed: train/c1"
        if edit == "pixel":
            Image.fromarray(np.full((6, 6), 91, np.uint8)).save(image)
        elif edit == "class name":
            for part in ("train", "test"):
                (folder / part / "c1").rename(folder / part / "c1b")
            changed = "new: test/c1b, train/c1b; gone: test/c1, train/c1"
        elif edit == "file name":
            image.rename(image.with_name("2b.png"))
        elif edit == "one more":
            shutil.copy(image, image.with_name("9.png"))
        else:
            image.unlink()
        run(cli, pets, *from_data("a")).is_mistake("data 'folder:pets'", changed)

    def test_a_folder_without_results_belongs_to_nothing(self, cli, pets):
        run(cli, pets, *from_data("a"))
        for name in ("accuracy", "configs", "trials"):
            Path(f"results/pets/{name}.parquet").unlink()
        assert run(cli, pets, *from_data("b")).code == 0
        run(cli, pets, *from_data("a")).is_mistake("data 'folder:pets'")

    def test_an_edited_data_set_of_torchvision_is_another(self, cli, tmp_path):
        study = tmp_path / "mnist.toml"
        text = PETS.replace("folder:pets", "mnist").replace("steps = 2", "steps = 1")
        study.write_text(text.replace("n_tasks = 2", "n_tasks = 5"))
        raw = tmp_path / "data" / "MNIST" / "raw"
        write_mnist(raw)
        assert run(cli, study, *from_data("data")).code == 0
        labels = raw / "train-labels-idx1-ubyte"
        content = bytearray(labels.read_bytes())
        content[-1] = (content[-1] + 1) % 10
        labels.write_bytes(content)
        run(cli, study, *from_data("data")).is_mistake(
            "data 'mnist'", "changed: train-labels-idx1-ubyte"
        )

    def test_a_process_that_lives_on_loads_edited_data_anew(self, cli, pets, tmp_path):
        run(cli, pets, *from_data("a"), "--out", "one")
        shutil.rmtree(tmp_path / "a")
        shutil.copytree(tmp_path / "b", tmp_path / "a")
        run(cli, pets, *from_data("a"), "--out", "two")
        run(cli, pets, *from_data("b"), "--out", "three")
        one, two, three = (
            pq.read_table(f"{name}/accuracy.parquet") for name in ("one", "two", "three")
        )
        assert two == three
        stages_of = [pq.read_table(f"{n}/trials.parquet")["stages"][0] for n in ("two", "three")]
        assert stages_of[0] == stages_of[1]
        assert one.num_rows == two.num_rows


def write_mnist(raw: Path) -> None:
    """Files of MNIST's form: 40 images to learn from and 20 to test, all classes."""
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, n in (("train", 40), ("t10k", 20)):
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        head = b"".join(v.to_bytes(4, "big") for v in (0x803, n, 28, 28))
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = b"".join(v.to_bytes(4, "big") for v in (0x801, n))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


class TestOtherWeights:
    @pytest.fixture
    def study(self, cli, tmp_path) -> Path:
        save_weights(tmp_path / "net.pth", seed=0)
        path = tmp_path / "pets.toml"
        net = 'name = "torchvision"\nmodel = "squeezenet1_1"\nweights = "net.pth"'
        path.write_text(PETS.replace("hidden = [4]", net).replace("[training]", "[training]"))
        for part in ("train", "test"):
            for label in ("c0", "c1", "c2", "c3"):
                for n in range(4):
                    image = tmp_path / "pets" / part / label / f"{n}.png"
                    image.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(np.full((32, 32), 50 * n, np.uint8)).save(image)
        return path

    def test_an_edited_file_is_refused_and_its_stages_are_others(self, study, tmp_path):
        before = inputs_of(load_study(study), None)
        assert [one.name for one in before] == ["data folder:pets", "weights net.pth"]
        save_weights(tmp_path / "net.pth", seed=1)
        after = inputs_of(load_study(study), None)
        (text,) = input_differences(before, after)
        assert text.startswith("weights 'net.pth'")
        assert "changed: net.pth" in text
        own = configurations(load_study(study))[0]
        keys = {
            planning.source_key(load_study(study), own.start, 0, stage_inputs(i))
            for i in (before, after)
        }
        assert len(keys) == 2

    def test_the_folder_is_bound_to_the_file(self, study, tmp_path):
        loaded = load_study(study)
        with Store(tmp_path / "out").open_for_run("identity", "", "pets") as store:
            store.bind_inputs(inputs_of(loaded, None))
            store.commit(records.make_record())
            store.bind_inputs(inputs_of(loaded, None))
            save_weights(tmp_path / "net.pth", seed=1)
            with pytest.raises(StoreError, match="weights 'net.pth'"):
                store.bind_inputs(inputs_of(loaded, None))


def save_weights(path: Path, seed: int) -> None:
    torch.manual_seed(seed)
    torch.save({"weight": torch.randn(3)}, path)


NET = """\
from torch import nn
import user_width


def factory(input_shape, n_outputs):
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, user_width.WIDTH),
        nn.ReLU(),
        nn.Linear(user_width.WIDTH, n_outputs),
    )
"""
CUSTOM = 'name = "custom"\nfactory = "user_factory:factory"'


class TestOtherCode:
    @pytest.fixture
    def study(self, cli, tmp_path, monkeypatch) -> Path:
        (tmp_path / "user_factory.py").write_text(NET)
        (tmp_path / "user_width.py").write_text("WIDTH = 4\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        self.forget(monkeypatch)
        return tiny_study(tmp_path, net=CUSTOM)

    @staticmethod
    def forget(monkeypatch) -> None:
        """As a new process."""
        monkeypatch.setattr(loaded_inputs, "_LOADED", {})
        for name in ("user_factory", "user_width"):
            monkeypatch.delitem(sys.modules, name, raising=False)

    def test_an_edit_after_the_import_is_refused_at_the_first_run(self, cli, study, tmp_path):
        importlib.import_module("user_factory")
        (tmp_path / "user_width.py").write_text("WIDTH = 5\n")
        cli("run", study, "--inline").is_mistake(
            "the code user_factory:factory was edited after this process had imported it",
            "restart the kernel",
        )

    @pytest.mark.parametrize(
        ("file", "old", "new"),
        [
            ("user_factory", "nn.ReLU()", "nn.Tanh()"),
            ("user_width", "WIDTH = 4", "WIDTH = 5"),
        ],
    )
    def test_an_edit_is_refused(self, file, old, new, cli, study, tmp_path, monkeypatch):
        assert run(cli, study).code == 0
        path = tmp_path / f"{file}.py"
        path.write_text(path.read_text().replace(old, new))
        self.forget(monkeypatch)
        for command in (("run", study, "--inline"), ("plan", study)):
            cli(*command).is_mistake("code 'user_factory:factory'", f"changed: {file}", "then")
        ran = run(cli, study, "--out", "other", "--stages", "results/tiny/stages")
        assert ran.code == 0
        assert "1 trained" in ran.out

    def test_a_comment_is_no_edit(self, cli, study, tmp_path, monkeypatch):
        run(cli, study)
        path = tmp_path / "user_width.py"
        path.write_text("# the width\n" + path.read_text())
        self.forget(monkeypatch)
        assert run(cli, study).code == 0

    def test_code_that_this_process_has_imported_before_its_edit_is_not_run(
        self, cli, study, tmp_path
    ):
        run(cli, study)
        (tmp_path / "user_width.py").write_text("WIDTH = 5\n")
        run(cli, study, "--out", "other").is_mistake(
            "code user_factory:factory was edited", "restart the kernel"
        )

    def test_code_without_a_file_is_refused(self, cli, study, tmp_path, monkeypatch):
        made = types.ModuleType("user_nowhere")
        exec(NET, vars(made))
        monkeypatch.setitem(sys.modules, "user_nowhere", made)
        study = tiny_study(tmp_path, net=CUSTOM.replace("user_factory", "user_nowhere"))
        run(cli, study).is_mistake("user_nowhere:factory is in no source file", "into a module")

    def test_plan_imports_no_code(self, cli, study):
        assert cli("plan", study).code == 0
        assert "user_factory" not in sys.modules


class TestOldFolders:
    @staticmethod
    def age(folder: Path) -> None:
        """As releases left it that did not record what results were computed from."""
        path = folder / "versions.json"
        bound = json.loads(path.read_text())
        del bound["inputs"]
        path.write_text(json.dumps(bound))
        with Store(folder).open_for_run(bound["study"], study_text(folder), "s") as store:
            for record in store.load():
                old = {k: v for k, v in record["trial"]["versions"].items() if " " not in k}
                record["trial"]["versions"] = old
                store.commit(record)
            store.compact()

    def test_they_go_on_with_one_sentence_and_then_belong_to_their_data(self, cli, pets):
        run(cli, pets, *from_data("a"))
        self.age(Path("results/pets"))
        pets.write_text(PETS.replace("seeds = [0]", "seeds = [0, 1]"))
        assert cli("plan", pets, *from_data("a")).code == 0
        first = run(cli, pets, *from_data("a"))
        assert first.code == 0
        assert first.err.count("warning: an earlier") == 1
        assert "did not record from what" in first.err
        assert "data folder:pets = " in first.err
        assert "warning" not in run(cli, pets, *from_data("a")).err
        run(cli, pets, *from_data("b")).is_mistake("data 'folder:pets'")
        notes = " ".join(build(Path("results/pets")).notes)
        assert "2 of 4 trials are of a clsweep that did not record" in notes

    def test_files_that_are_read_differently_now_do_not_go_on(self, cli, pets, monkeypatch):
        run(cli, pets, *from_data("a"))
        self.age(Path("results/pets"))
        monkeypatch.setattr(input_fingerprints, "DECODING", 3)
        monkeypatch.setattr(
            input_fingerprints, "decoding_of", lambda file: 3 if file.stem == "3" else 1
        )
        run(cli, pets, *from_data("a")).is_mistake("read as other pixels", "data 'folder:pets'")

    def test_another_reading_of_other_files_changes_nothing(self, cli, pets, monkeypatch):
        run(cli, pets, *from_data("a"))
        monkeypatch.setattr(input_fingerprints, "DECODING", 3)
        assert run(cli, pets, *from_data("a")).code == 0
        monkeypatch.setattr(input_fingerprints, "DECODING", 4)
        monkeypatch.setattr(
            input_fingerprints, "decoding_of", lambda file: 4 if file.stem == "3" else 1
        )
        run(cli, pets, *from_data("a")).is_mistake("data 'folder:pets'", "changed: test/c0")


def study_text(folder: Path) -> str:
    return (folder / "study.toml").read_text()


class TestStandardData:
    """What is published keeps the names that stages have had in every release."""

    def test_the_bundled_digits_are_published(self, tmp_path):
        (one,) = inputs_of(load_study(tiny_study(tmp_path)), None)
        assert (one.name, one.is_published) == ("data digits", True)
        assert one.fingerprint == "ee9f32e223f6c57dd67bb2c7"
        assert stage_inputs((one,)) == ()

    def test_stages_of_the_quickstart_keep_their_keys(self):
        study = load_study(Path(__file__).parents[2] / "configs" / "quickstart.toml")
        values = stage_inputs(inputs_of(study, None))
        jobs = planning.plan(study, configurations(study), set(), lambda key: False, values).jobs
        first = [next(job.key for job in jobs if job.kind == kind) for kind in ("source", "trial")]
        assert first == ["e37d4468f6a5822a09898d5f", "f0c0d424305140a2-0"]

    def test_mnist_with_other_labels_is_not_published(self, tmp_path):
        write_mnist(tmp_path / "MNIST" / "raw")
        study = load_study(tiny_study(tmp_path, more=""))
        study = study.model_copy(
            update={"benchmark": study.benchmark.model_copy(update={"dataset": "mnist"})}
        )
        (one,) = inputs_of(study, tmp_path)
        assert one.fingerprint
        assert not one.is_published
        (absent,) = inputs_of(study, tmp_path / "nowhere")
        assert (absent.fingerprint, absent.is_published) == ("", True)
        assert input_differences([absent], [absent._replace(fingerprint="f" * 24)]) == []
        assert (
            len(input_differences([absent], [one])) == len(input_differences([one], [absent])) == 1
        )

    def test_packed_files_prove_what_is_unpacked(self, tmp_path, monkeypatch):
        raw = tmp_path / "KMNIST" / "raw"
        write_mnist(raw)
        known = {}
        for path in sorted(raw.iterdir()):
            packed = path.with_name(f"{path.name}.gz")
            packed.write_bytes(gzip.compress(path.read_bytes()))
            known[packed.name] = hashlib.md5(packed.read_bytes()).hexdigest()
        monkeypatch.setitem(PUBLISHED, "kmnist", known)
        (one,) = input_fingerprints.data_inputs(SplitBenchmark(dataset="kmnist"), tmp_path)
        assert one.is_published
        path = raw / "t10k-images-idx3-ubyte"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
        (other,) = input_fingerprints.data_inputs(SplitBenchmark(dataset="kmnist"), tmp_path)
        assert not other.is_published
        assert other.fingerprint != one.fingerprint

    def test_files_that_torchvision_prefers_are_looked_at(self, tmp_path):
        write_mnist(tmp_path / "MNIST" / "raw")
        (one,) = input_fingerprints.data_inputs(SplitBenchmark(dataset="mnist"), tmp_path)
        for name in ("training", "test"):
            path = tmp_path / "MNIST" / "processed" / f"{name}.pt"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"x")
        (other,) = input_fingerprints.data_inputs(SplitBenchmark(dataset="mnist"), tmp_path)
        assert [part for part, _ in other.parts] == ["processed/test.pt", "processed/training.pt"]
        assert other.fingerprint != one.fingerprint

    @pytest.mark.skipif("CLSWEEP_DATA" not in os.environ, reason="needs MNIST")
    def test_mnist_is_published(self):
        root = Path(os.environ["CLSWEEP_DATA"])
        (one,) = input_fingerprints.data_inputs(SplitBenchmark(dataset="mnist"), root)
        assert one.is_published


class TestWorkers:
    def test_one_that_finds_other_data_stops_the_run_and_is_named(self, pets, tmp_path):
        study = load_study(pets, tmp_path / "a")
        planned = inputs_of(study, tmp_path / "a")
        context = outcomes.Context(
            "r1", study, tmp_path / "out", tmp_path / "st", tmp_path / "b", "cpu", inputs=planned
        )
        values = stage_inputs(planned)
        job = next(
            iter(
                planning.plan(study, configurations(study), set(), lambda key: False, values).jobs
            )
        )
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "versions.json").touch()
        outcome = worker.execute(context, job)
        assert outcome.status == "abort"
        for word in (socket.gethostname(), "data 'folder:pets'", "changed: test/c0, train/c0"):
            assert word in outcome.message
        with pytest.raises(StoreError, match="not every node finds the data"):
            worker.probe(context)
        assert not (tmp_path / "st").exists()

    @pytest.mark.parametrize("how", ["absent", "unreadable"])
    def test_one_that_finds_no_data_marks_no_trial_as_failed(self, how, pets, tmp_path):
        # A node that joined without the data would else take all trials, and fail them.
        study = load_study(pets, tmp_path / "a")
        planned = inputs_of(study, tmp_path / "a")
        make_pets(tmp_path / "elsewhere", 21)
        next((tmp_path / "elsewhere/pets/train/c0").iterdir()).write_bytes(b"half a file")
        root = tmp_path / ("nowhere" if how == "absent" else "elsewhere")
        out = tmp_path / "out"
        context = outcomes.Context(
            f"r4 {how}", study, out, tmp_path / "st", root, "cpu", inputs=planned
        )
        values = stage_inputs(planned)
        planned_jobs = planning.plan(
            study, configurations(study), set(), lambda key: False, values
        )
        out.mkdir()
        (out / "versions.json").touch()
        outcome = worker.execute(context, planned_jobs.jobs[0])
        assert outcome.status == "abort"
        assert socket.gethostname() in outcome.message
        assert ("no folder" if how == "absent" else "unreadable image") in outcome.message
        assert not list(out.glob("records/*.json"))

    def test_one_that_does_not_find_the_code_marks_no_trial_as_failed(
        self, pets, tmp_path, monkeypatch
    ):
        (tmp_path / "code").mkdir()
        module = tmp_path / "code" / "nets_of_one_node.py"
        module.write_text("def factory(input_shape, n_outputs):\n    raise NotImplementedError\n")
        monkeypatch.syspath_prepend(tmp_path / "code")
        net = 'name = "custom"\nfactory = "nets_of_one_node:factory"'
        pets.write_text(PETS.replace("hidden = [4]", net))
        study = load_study(pets, tmp_path / "a")
        planned = inputs_of(study, tmp_path / "a")
        module.unlink()
        out, root = tmp_path / "out", tmp_path / "a"
        context = outcomes.Context("r5", study, out, tmp_path / "st", root, "cpu", inputs=planned)
        values = stage_inputs(planned)
        planned_jobs = planning.plan(
            study, configurations(study), set(), lambda key: False, values
        )
        out.mkdir()
        (out / "versions.json").touch()
        outcome = worker.execute(context, planned_jobs.jobs[0])
        assert outcome.status == "abort"
        assert "code 'nets_of_one_node:factory': not found" in outcome.message

    def test_an_edit_during_a_run_stops_it(self, pets, tmp_path):
        study = load_study(pets, tmp_path / "a")
        planned = inputs_of(study, tmp_path / "a")
        make_pets(tmp_path / "a", 21)
        context = outcomes.Context(
            "r2", study, tmp_path / "out", tmp_path / "st", tmp_path / "a", "cpu", inputs=planned
        )
        with pytest.raises(StoreError, match="no change during a run"):
            worker.probe(context)

    def test_each_record_says_what_it_was_computed_from(self, cli, pets, tmp_path):
        run(cli, pets, *from_data("a"))
        (one,) = inputs_of(load_study(pets, tmp_path / "a"), tmp_path / "a")
        rows = pq.read_table("results/pets/trials.parquet").to_pylist()
        for row in rows:
            assert fingerprints_of([one]).items() <= json.loads(row["versions"]).items()


class TestReports:
    def test_of_a_folder_with_two_fingerprints_says_so(self, cli, pets):
        for root in ("a", "b"):
            run(cli, pets, *from_data(root), "--out", root + "-out")
        mix("b-out", "a-out")
        ran = cli("report", "a-out", "--format", "csv")
        assert ran.code == 0
        text = " ".join(ran.out.split())
        assert "mixes trials of different data under the name 'folder:pets'" in text
        run(cli, pets, *from_data("a"), "--out", "a-out").is_mistake("data 'folder:pets'")
        words = ("mixes trials of different data", "folder:pets", "1 with")
        cli("report", "b-out", "--tuned-on", "a-out").is_mistake(*words)
        cli("export", "a-out", "--optuna", "a.db").is_mistake(*words)
        assert not Path("a.db").exists()

    def test_of_folders_with_other_data_is_refused(self, cli, pets):
        for root in ("a", "b"):
            run(cli, pets, *from_data(root), "--out", root + "-out")
        cli("report", "a-out", "b-out").is_mistake("same data 'folder:pets'", "a-out", "b-out")
        run(cli, pets, *from_data("a"), "--out", "c-out")
        assert cli("report", "a-out", "c-out", "--format", "csv").code == 0

    def test_of_a_folder_that_did_not_record_its_data_says_so(self, cli, pets):
        for name in ("one", "two"):
            run(cli, pets, *from_data("a"), "--out", name)
        TestOldFolders.age(Path("one"))
        ran = cli("report", "one", "two", "--full", "--format", "csv")
        assert ran.code == 0
        assert "one: made by a clsweep that did not record what the data 'folder:pets' was" in (
            " ".join(ran.out.split())
        )


def mix(source: str, target: str) -> None:
    """Put one record of another folder in place of a folder's own."""
    record = Store(Path(source)).load()[0]
    with Store(Path(target)) as store:
        store.commit(record)
        store.compact()


@pytest.mark.parametrize(
    "content",
    ['"inputs": 3', '"inputs": {"data x": 3}', '"inputs": {"data x": {"fingerprint": "0"}}'],
)
def test_a_damaged_binding_is_named(content, cli, pets):
    run(cli, pets, *from_data("a"))
    path = Path("results/pets/versions.json")
    bound = json.loads(path.read_text())
    bound["inputs"] = json.loads("{" + content + "}")["inputs"]
    path.write_text(json.dumps(bound))
    run(cli, pets, *from_data("a")).is_mistake("cannot tell what the results were computed from")


def test_a_validation_part_of_a_folder_counts_where_it_is_used(tmp_path: Path) -> None:
    folder = make_pets(tmp_path, first=0) / "pets"
    own = SplitBenchmark(dataset=f"folder:{folder}")
    drawn = own.model_copy(update={"validation": "drawn"})
    (before,) = data_inputs(own, None)
    shutil.copytree(folder / "test", folder / "val")
    (used,), (unused,) = data_inputs(own, None), data_inputs(drawn, None)
    assert unused == before
    assert {*dict(used.parts)} - {*dict(before.parts)} == {f"val/c{label}" for label in range(4)}
    assert used.fingerprint != before.fingerprint
