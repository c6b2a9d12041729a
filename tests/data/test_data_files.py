"""Data roots: what lies there is read and never written to, whatever form it has."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import pytest
import torch
import torchvision

from clsweep.data.data_files import STORED, missing_files
from clsweep.data.datasets import load
from clsweep.doctor import doctor
from clsweep.errors import StudyError
from clsweep.study.input_fingerprints import data_inputs
from clsweep.study.study import load_study
from tests.data.test_datasets import refuse_downloads, write_mnist
from tests.support.command_line import CommandLine, tiny_study


@pytest.fixture(autouse=True)
def _fresh_cache(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CLSWEEP_DATA", raising=False)
    refuse_downloads(monkeypatch)
    load.cache_clear()
    yield
    load.cache_clear()


@pytest.fixture
def cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    monkeypatch.chdir(tmp_path)
    # Importing torch and Ray in a process of its own says nothing of data.
    monkeypatch.setattr(doctor, "_asked_apart", lambda module, words, seconds: "is left out")
    return CommandLine(capsys)


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Everything below a folder, and when it was last changed: a write anywhere shows."""
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in [root, *root.rglob("*")]
    }


def packed(root: Path, *, all_files: bool = True) -> None:
    """Replace MNIST's files by packed ones, as LeCun's page has them."""
    for file in sorted((root / "MNIST/raw").iterdir())[: None if all_files else 2]:
        with gzip.open(f"{file}.gz", "wb") as out:
            out.write(file.read_bytes())
        file.unlink()


def mnist_study(folder: Path) -> Path:
    path = tiny_study(folder)
    text = path.read_text().replace('name = "split"', 'name = "split"\ndataset = "mnist"')
    path.write_text(text.replace("examples_per_task = 40", 'split = "stratified"'))
    return path


@pytest.mark.parametrize("all_files", [True, False])
def test_packed_files_are_read_in_memory(tmp_path: Path, all_files: bool) -> None:
    write_mnist(tmp_path)
    plain = load("mnist", tmp_path)
    fingerprint = data_inputs(study_of(tmp_path).benchmark, tmp_path)[0].fingerprint
    packed(tmp_path, all_files=all_files)
    load.cache_clear()
    before = snapshot(tmp_path)
    found = load("mnist", tmp_path)
    assert torch.equal(found.images, plain.images)
    assert torch.equal(found.labels, plain.labels)
    assert found.n_train == plain.n_train
    assert snapshot(tmp_path) == before
    assert data_inputs(study_of(tmp_path).benchmark, tmp_path)[0].fingerprint == fingerprint


def study_of(root: Path):
    folder = root.parent / f"{root.name}_study"
    folder.mkdir(exist_ok=True)
    return load_study(mnist_study(folder), root)


def cut(data: bytes) -> bytes:
    return data[:-9]


def overwritten(data: bytes) -> bytes:
    return data[:40] + b"\xff" * 20 + data[60:]


def no_gzip(data: bytes) -> bytes:
    return b"\0" * len(data)


@pytest.mark.parametrize("damage", [cut, overwritten, no_gzip])
def test_damaged_packed_files_are_named(damage, cli: CommandLine, tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_mnist(root)
    study = mnist_study(tmp_path)
    packed(root)
    file = root / "MNIST/raw/train-labels-idx1-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(StudyError, match="cannot be read") as caught:
        load("mnist", root)
    assert "delete" not in str(caught.value)
    for command in ("plan", "run"):
        ended = cli(command, study, "--data-root", root)
        assert ended.code == 2
        assert "data mnist cannot be read: damaged" in ended.err
        assert str(file) in ended.err


def test_what_is_read_is_what_is_fingerprinted(tmp_path: Path) -> None:
    # An old release of torchvision has left its files, and the packed ones hold something else.
    write_mnist(tmp_path)
    before = load("mnist", tmp_path)
    benchmark = study_of(tmp_path).benchmark
    packed(tmp_path)
    (tmp_path / "MNIST/processed").mkdir()
    for name, images, labels in (
        ("training", 255 - before.train_images[:, 0], before.train_labels),
        ("test", 255 - before.test_images[:, 0], before.test_labels),
    ):
        torch.save((images, labels), tmp_path / f"MNIST/processed/{name}.pt")
    load.cache_clear()
    (found,) = data_inputs(benchmark, tmp_path)
    assert [part for part, _ in found.parts] == ["processed/test.pt", "processed/training.pt"]
    assert torch.equal(load("mnist", tmp_path).images, 255 - before.images)


def test_a_damaged_file_of_an_old_release_is_named(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    (tmp_path / "MNIST/processed").mkdir()
    for name in ("training", "test"):
        (tmp_path / f"MNIST/processed/{name}.pt").write_bytes(b"damaged")
    with pytest.raises(StudyError, match="'mnist' cannot be read"):
        load("mnist", tmp_path)


def test_labels_that_do_not_belong_to_the_images(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    raw = tmp_path / "MNIST/raw"
    (raw / "train-labels-idx1-ubyte").write_bytes((raw / "t10k-labels-idx1-ubyte").read_bytes())
    packed(tmp_path)
    with pytest.raises(StudyError, match="do not belong together"):
        load("mnist", tmp_path)


def test_no_command_writes_to_a_data_root(cli: CommandLine, tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_mnist(root, n_train=200)
    packed(root)
    study = mnist_study(tmp_path)
    before = snapshot(root)
    for command in (["plan"], ["run", "--inline"]):
        ran = cli(*command, study, "--data-root", root)
        assert ran.code == 0, ran.out + ran.err
    assert "mnist; in" in cli("doctor", study, "--data-root", root).out
    assert snapshot(root) == before


def wrongly(root: Path, how: str) -> Path:
    """MNIST where people put it; returns the data root that they name."""
    write_mnist(root)
    raw = root / "MNIST/raw"
    if how == "one too deep":
        return root / "MNIST"
    if how == "two too deep":
        return raw
    if how == "without raw":
        for file in [*raw.iterdir()]:
            file.rename(root / "MNIST" / file.name)
        raw.rmdir()
    if how == "flat":
        for file in [*raw.iterdir()]:
            file.rename(root / file.name)
        raw.rmdir()
        (root / "MNIST").rmdir()
    if how == "incomplete":
        (raw / "t10k-labels-idx1-ubyte").unlink()
    return root


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("one too deep", ("lies in", "--data-root {root}`")),
        ("two too deep", ("lies in", "--data-root {root}`")),
        ("without raw", ("lies in {root}/MNIST, where", "ln -s")),
        ("flat", ("lies in {root}, where", "ln -s")),
        ("incomplete", ("incomplete: MNIST/raw/t10k-labels-idx1-ubyte missing", "add what is")),
    ],
)
def test_data_in_the_wrong_place_are_found_and_left(
    cli: CommandLine, tmp_path: Path, how: str, words: tuple[str, ...]
) -> None:
    root = wrongly(tmp_path / "data", how)
    study, before = mnist_study(tmp_path), snapshot(tmp_path / "data")
    expected = [word.format(root=tmp_path / "data") for word in words]
    for command in (["plan"], ["run", "--inline"]):
        ran = cli(*command, study, "--data-root", root)
        ran.is_mistake(*expected)
        assert "delete" not in ran.err
    with pytest.raises(StudyError, match="mnist"):
        load("mnist", root)
    ran = cli("doctor", study, "--data-root", root)
    assert ran.code == 1
    assert expected[0] in " ".join(ran.out.split())
    assert snapshot(tmp_path / "data") == before


def test_an_archive_is_named_with_the_command_that_unpacks_it(tmp_path: Path) -> None:
    archive = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(archive, "w:gz"):
        pass
    before = snapshot(tmp_path)
    with pytest.raises(StudyError, match="is packed") as caught:
        load("cifar10", tmp_path)
    assert f"tar -xzf {archive} -C {tmp_path}" in str(caught.value)
    assert snapshot(tmp_path) == before


def test_plan_says_what_would_be_downloaded(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    ran = cli("plan", mnist_study(tmp_path), "--data-root", "data")
    assert ran.code == 0
    assert "note: mnist is not in data: a run downloads 12 MB to it" in ran.out
    assert list((tmp_path / "data").iterdir()) == []


def test_a_download_that_fails_leaves_nothing(tmp_path: Path) -> None:
    for root in (tmp_path / "new", tmp_path):
        with pytest.raises(StudyError, match="cannot be downloaded"):
            load("mnist", root)
    assert list(tmp_path.iterdir()) == []


def test_a_download_goes_into_folders_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "MNIST/raw").mkdir(parents=True)
    (tmp_path / "MNIST/raw/notes.txt").write_text("mine")

    def download(self) -> None:
        if not self._check_exists():
            write_mnist(Path(self.root))

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", download)
    assert load("mnist", tmp_path).n_train == 20
    assert (tmp_path / "MNIST/raw/notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]


def test_every_torchvision_data_set_has_its_files() -> None:
    for name, stored in STORED.items():
        assert stored.files
        assert stored.megabytes > 0
        assert missing_files(name, Path("/nowhere")) == tuple(
            str(Path(stored.folder) / file) for file in stored.files
        )
    assert missing_files("digits", Path("/nowhere")) == ()
    cifar = torchvision.datasets.CIFAR10
    listed = {file for file, _ in (*cifar.train_list, *cifar.test_list)} | {"batches.meta"}
    assert {*STORED["cifar10"].files} == listed
    assert STORED["cifar10"].archive == cifar.filename
    assert STORED["cifar100"].archive == torchvision.datasets.CIFAR100.filename
    resources = {name for name, _ in torchvision.datasets.MNIST.resources}
    assert {f"{file}.gz" for file in STORED["mnist"].files} == resources
    assert {row[1] for row in torchvision.datasets.SVHN.split_list.values()} >= {
        *STORED["svhn"].files
    }


def test_what_doctor_says_to_try_can_be_copied_to_a_shell(
    cli: CommandLine, tmp_path: Path
) -> None:
    study = tiny_study(tmp_path).rename(tmp_path / "a study.toml")
    ended = cli("doctor", study)
    assert f"`python -m clsweep.doctor.study_probe '{study}' ''` shows it" in ended.out
