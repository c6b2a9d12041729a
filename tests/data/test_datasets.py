import hashlib
import subprocess
import sys
import threading
import time
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from sklearn.datasets import load_digits

from clsweep.data import datasets
from clsweep.data.dataset_lookup import dataset_spec
from clsweep.data.dataset_specs import DATASETS
from clsweep.data.datasets import load
from clsweep.errors import StudyError


@pytest.fixture(autouse=True)
def _fresh_cache():
    load.cache_clear()
    yield
    load.cache_clear()


def write_idx(path, array):
    """An idx file of unsigned bytes: two zeros, type 8, number of axes, sizes, values."""
    head = bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())


def write_mnist(root, n_train=20, n_test=10, name="MNIST"):
    """Random images in torchvision's layout; their labels go round 0..9."""
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, n in (("train", n_train), ("t10k", n_test)):
        write_idx(raw / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (n, 28, 28)))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(n) % 10)
    return np.random.default_rng(0).integers(0, 256, (n_train, 28, 28))


def write_image(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def image_folder(root, shape=(4, 5, 3)):
    """Two classes; one image of class a, two of class b, in each part."""
    rng = np.random.default_rng(1)
    files = ["train/b/0.png", "train/b/1.png", "train/a/0.png", "test/a/0.png", "test/b/0.png"]
    pixels = {name: rng.integers(0, 256, shape) for name in [*files, "test/b/1.png"]}
    for name, values in pixels.items():
        write_image(root / name, values)
    return pixels


def refuse_downloads(monkeypatch):
    def download(self):
        raise URLError("no network")

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", download)


def test_digits_are_divided_as_the_catalogue_says():
    digits, spec = load("digits", None), DATASETS["digits"]
    assert digits.images.dtype == torch.uint8
    assert tuple(digits.images.shape) == (1797, *spec.shape)
    assert tuple(digits.train_labels.bincount().tolist()) == spec.train_counts
    assert tuple(digits.test_labels.bincount().tolist()) == spec.test_counts


def test_digits_hold_every_image_once_and_stretched():
    digits = load("digits", None)
    assert sorted(set(digits.images.flatten().tolist())) == [
        (255 * v * 2 + 16) // 32 for v in range(17)
    ]
    source = load_digits()
    expected = {(tuple(x), int(y)) for x, y in zip(source.data, source.target, strict=True)}
    stored = zip((digits.images.flatten(1) / 15.9375).round(), digits.labels, strict=True)
    assert {(tuple(x.tolist()), int(y)) for x, y in stored} == expected


def test_digits_split_is_pinned():
    digest = hashlib.sha256(load("digits", None).images.numpy().tobytes()).hexdigest()
    assert digest[:16] == "d1353c568a2595e2"


def test_parts_are_views_and_loading_twice_is_free():
    digits = load("digits", None)
    assert digits.train_images.data_ptr() == digits.images.data_ptr()
    assert len(digits.train_images) + len(digits.test_images) == len(digits.images)
    assert load("digits", None) is digits


def test_torchvision_layout(tmp_path):
    images = write_mnist(tmp_path)
    mnist = load("mnist", tmp_path)
    assert tuple(mnist.images.shape) == (30, 1, 28, 28)
    assert (mnist.n_train, mnist.n_classes) == (20, 10)
    assert (mnist.train_images[:, 0].numpy() == images).all()
    assert mnist.test_labels.tolist() == list(range(10))
    assert mnist.labels.dtype == torch.int64


def test_colour_images_become_channels_first(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)

    class Fake:
        def __init__(self, root, train, download):
            self.data = pixels[:4] if train else pixels[4:]
            self.targets = [9, 1, 2, 3] if train else [4, 5]

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", Fake)
    cifar = load("cifar10", None)
    assert (cifar.images.numpy() == pixels.transpose(0, 3, 1, 2)).all()
    assert cifar.labels.tolist() == [9, 1, 2, 3, 4, 5]


def test_absent_data_say_where_they_were_looked_for(monkeypatch, tmp_path):
    refuse_downloads(monkeypatch)
    with pytest.raises(StudyError) as caught:
        load("fashion_mnist", tmp_path)
    message = str(caught.value)
    for word in ("FashionMNIST/raw", str(tmp_path), "--data-root", "CLSWEEP_DATA", "no network"):
        assert word in message
    assert [*tmp_path.iterdir()] == []


def test_what_the_download_says_is_one_line_of_the_message(monkeypatch, tmp_path):
    class Unreachable:
        def __init__(self, *arguments, **options):
            raise RuntimeError("Error downloading x.gz:\nTried https://a, got:\n<urlopen error>\n")

    monkeypatch.setattr(torchvision.datasets, "KMNIST", Unreachable)
    with pytest.raises(StudyError) as caught:
        load("kmnist", tmp_path)
    first, *others = str(caught.value).splitlines()
    assert first.endswith("Error downloading x.gz: Tried https://a, got: <urlopen error>")
    assert [line.split(":")[0] for line in others] == ["  expected", "  where", "  next"]


def test_data_root_that_is_a_file(monkeypatch, tmp_path):
    refuse_downloads(monkeypatch)
    root = tmp_path / "file"
    root.write_text("", encoding="utf-8")
    with pytest.raises(StudyError, match="cannot be downloaded: .*File exists"):
        load("mnist", root)


def test_damaged_data_are_not_replaced_silently(monkeypatch, tmp_path):
    refuse_downloads(monkeypatch)
    write_mnist(tmp_path)
    file = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(StudyError, match=r"cannot be read[^$]*undamaged [^$]* in MNIST/raw"):
        load("mnist", tmp_path)


def test_many_workers_download_once(monkeypatch, tmp_path):
    downloads = []

    def download(self):
        if not self._check_exists():
            downloads.append(self.root)
            time.sleep(0.05)
            write_mnist(type(tmp_path)(self.root))

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", download)
    found = []

    def work():
        found.append(datasets.load.__wrapped__("mnist", tmp_path).n_train)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [20] * 4
    assert len(downloads) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["MNIST"]


def test_image_folder(tmp_path):
    pixels = image_folder(tmp_path)
    folder = load(f"folder:{tmp_path}", None)
    assert folder.labels.tolist() == [0, 1, 1, 0, 1, 1]
    assert (folder.n_train, folder.n_classes) == (3, 2)
    names = ["train/a/0", "train/b/0", "train/b/1", "test/a/0", "test/b/0", "test/b/1"]
    for image, name in zip(folder.images.numpy(), names, strict=True):
        assert (image == pixels[f"{name}.png"].transpose(2, 0, 1)).all()
    assert dataset_spec(f"folder:{tmp_path}", None).shape == tuple(folder.images.shape[1:])
    assert load(f"folder:{tmp_path.name}", tmp_path.parent).labels.tolist()[-3:] == [0, 1, 1]


def test_grey_folder_has_one_channel(tmp_path):
    image_folder(tmp_path, shape=(4, 5))
    assert tuple(load(f"folder:{tmp_path}", None).images.shape) == (6, 1, 4, 5)


def test_grey_image_among_colour_is_repeated(tmp_path):
    image_folder(tmp_path)
    write_image(tmp_path / "test/b/1.png", np.full((4, 5), 77))
    assert (load(f"folder:{tmp_path}", None).images[-1] == 77).all()


def remove(path):
    if path.is_dir():
        for child in path.iterdir():
            remove(child)
        path.rmdir()
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda root: remove(root / "train"), r"no folder '.*train'"),
        (lambda root: remove(root / "test"), r"no folder '.*test'"),
        (lambda root: [remove(p) for p in (root / "test").iterdir()], "no class folders"),
        (lambda root: remove(root / "test" / "a"), r"only in train: \['a'\]"),
        (lambda root: remove(root / "test" / "a" / "0.png"), r"no images[^$]*test/a"),
        (
            lambda root: write_image(root / "test/b/9.png", np.zeros((5, 5, 3))),
            r"6 of 5x4 pixels, 1 of 5x5 \(test/b/9.png\)[^$]*resize = 4 and crop = 4",
        ),
        (
            lambda root: (root / "test/b/1.png").write_text("no image", encoding="utf-8"),
            r"unreadable image[^$]*test/b/1.png",
        ),
        (
            lambda root: (root / "train/a/0.png").write_bytes(b"\x89PNG\r\n\x1a\n"),
            r"unreadable image[^$]*train/a/0.png",
        ),
        (
            lambda root: Image.new("F", (5, 4)).save(root / "train/b/1.png", format="TIFF"),
            r"mode 'F'[^$]*train/b/1.png[^$]*convert them",
        ),
    ],
)
def test_unusable_folders_name_the_place(tmp_path, harm, message):
    image_folder(tmp_path)
    harm(tmp_path)
    with pytest.raises(StudyError, match=message):
        load(f"folder:{tmp_path}", None)


def test_truncated_image_is_named(tmp_path):
    image_folder(tmp_path, shape=(64, 64, 3))
    file = tmp_path / "train/b/0.png"
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(StudyError, match=r"unreadable image[^$]*train/b/0.png"):
        load(f"folder:{tmp_path}", None)


@pytest.mark.parametrize("name", ["train/a/0.png", "train/b/1.png", "test/a/0.png"])
def test_one_colour_image_makes_a_folder_one_of_colour(tmp_path, name):
    pixels = image_folder(tmp_path, shape=(4, 5))
    pixels[name] = np.arange(60).reshape(4, 5, 3)
    write_image(tmp_path / name, pixels[name])
    folder = load(f"folder:{tmp_path}", None)
    assert dataset_spec(f"folder:{tmp_path}", None).shape == (3, 4, 5)
    names = ["train/a/0", "train/b/0", "train/b/1", "test/a/0", "test/b/0", "test/b/1"]
    for image, stem in zip(folder.images.numpy(), names, strict=True):
        expected = pixels[f"{stem}.png"]
        expected = expected[None] if expected.ndim == 2 else expected.transpose(2, 0, 1)
        assert (image == np.broadcast_to(expected, (3, 4, 5))).all()


def test_grey_stored_as_colour_among_grey_stays_grey(tmp_path):
    image_folder(tmp_path, shape=(4, 5))
    grey = np.arange(20).reshape(4, 5)
    write_image(tmp_path / "test/b/1.png", np.repeat(grey[..., None], 3, axis=2))
    folder = load(f"folder:{tmp_path}", None)
    assert tuple(folder.images.shape) == (6, 1, 4, 5)
    assert (folder.images[-1, 0].numpy() == grey).all()


def test_a_folder_whose_first_image_is_stored_as_colour_keeps_three_channels(tmp_path):
    image_folder(tmp_path, shape=(4, 5))
    grey = np.arange(20).reshape(4, 5)
    write_image(tmp_path / "train/a/0.png", np.repeat(grey[..., None], 3, axis=2))
    assert tuple(load(f"folder:{tmp_path}", None).images.shape) == (6, 3, 4, 5)


def test_transparent_and_turned_pictures_are_read_as_they_are_shown(tmp_path):
    plain, clear, turned = (tmp_path / name for name in ("plain", "clear", "turned"))
    pixels = image_folder(plain, shape=(4, 5))
    for name, grey in pixels.items():
        ink = np.zeros((4, 5, 4))
        ink[..., 3] = 255 - grey  # black ink on nothing
        write_image(clear / name, ink)
        exif = Image.Exif()
        exif[0x0112] = 6
        (turned / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rot90(grey).astype(np.uint8)).save(turned / name, exif=exif)
    expected = load(f"folder:{plain}", None).images
    assert (load(f"folder:{clear}", None).images == expected).all()
    assert (load(f"folder:{turned}", None).images == expected).all()


def test_unknown_name():
    with pytest.raises(StudyError, match="did you mean 'mnist'"):
        load("mnits", None)


def test_digits_and_mnist_are_read_without_scikit_learn_and_torchvision(tmp_path):
    write_mnist(tmp_path)
    code = f"""
import sys, pathlib
from clsweep.data.datasets import load
print(len(load("digits", None).images), len(load("mnist", pathlib.Path({str(tmp_path)!r})).images))
print(sorted({{"sklearn", "torchvision", "torch._dynamo"}} & {{*sys.modules}}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines() == ["1797 30", "[]"], done.stderr
