import numpy as np
import pytest

from clsweep.errors import StudyError
from clsweep.execution.dry_run import plan
from clsweep.study.data_warnings import data_notes
from clsweep.study.study import load_study
from tests.support.array_files import split_of, study_file, vectors, write


def study_of(folder, x, y, **sections):
    path = write(folder, x, y, split_of(y), "npz")
    return study_file(folder, path.name, **sections)


@pytest.mark.parametrize(
    ("sections", "complaint"),
    [
        ({"net": 'name = "conv"'}, "the net 'conv' takes images, and the benchmark's inputs are"),
        ({"net": 'name = "lenet"'}, "vectors of 8 numbers"),
        ({"net": 'name = "resnet18"'}, "vectors of 8 numbers"),
        ({"net": 'name = "torchvision"\nmodel = "resnet18"'}, "vectors of 8 numbers"),
        ({"training": 'augment = "flip"'}, "augment = 'flip' moves pixels"),
        ({"methods": '[[methods]]\nname = "dgr"'}, "'dgr' generates images of bytes"),
        ({"benchmark": 'pixels = "standardized"'}, "holds float32, and pixels is for bytes"),
    ],
)
def test_a_study_that_vectors_do_not_fit_is_refused(sections, complaint, tmp_path):
    file = study_of(tmp_path, *vectors(n=40, n_features=8, n_classes=4), **sections)
    with pytest.raises(StudyError) as caught:
        load_study(file)
    assert complaint in " ".join(str(caught.value).split())
    assert "study.toml" in str(caught.value)


def test_bytes_may_be_generated(tmp_path):
    x, y = vectors(n=40, n_features=16, n_classes=4)
    x = (x * 20 + 100).clip(0, 255).astype(np.uint8)
    load_study(study_of(tmp_path, x, y, methods='[[methods]]\nname = "dgr"'))


def test_features_is_for_arrays(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(
        'name = "x"\n[benchmark]\nname = "split"\nfeatures = "standardized"\n'
        '[[methods]]\nname = "finetune"\n'
    )
    with pytest.raises(StudyError, match="pixels = 'standardized' is for digits"):
        load_study(file)


def test_a_plan_says_what_is_resident_and_which_validation_is_used(tmp_path):
    x, y = vectors(n=40, n_classes=4)
    study = load_study(study_of(tmp_path, x, y))
    notes = " ".join(plan(study, tmp_path / "out").notes)
    assert "data.npz is read into memory" in notes
    assert "validation examples of its own, which are used" in notes
    drawn = load_study(study_of(tmp_path, x, y, benchmark='validation = "drawn"'))
    notes = " ".join(plan(drawn, tmp_path / "out").notes)
    assert "validation examples of its own, which are not used" in notes


def test_facts_are_no_doubts(tmp_path):
    x, y = vectors(n=40, n_classes=4)
    assert data_notes(load_study(study_of(tmp_path, x, y)), None) == []
