import pytest

from clsweep.data.benchmark_specs import PairBenchmark, RotatedBenchmark, SplitBenchmark
from clsweep.data.input_checks import InputKind, check_inputs
from clsweep.errors import StudyError

VECTORS = InputKind("arrays:v.npz", (16,), "float32")
FLOATS = InputKind("arrays:f.npz", (1, 4, 4), "float32")
BYTES = InputKind("arrays:b.npz", (1, 4, 4), "uint8")
DIGITS = InputKind("digits", (1, 8, 8), "uint8")


def named(config, kinds):
    """The benchmark on data sets of those names."""
    if config is PairBenchmark:
        return config(dataset=kinds[0].name, target=kinds[1].name)
    return config.model_copy(update={"dataset": kinds[0].name})


@pytest.mark.parametrize(
    ("config", "kinds", "complaint"),
    [
        (RotatedBenchmark(), [VECTORS], "vectors of 16 numbers, which cannot be rotated"),
        (SplitBenchmark(pad=1), [VECTORS], "have no border to pad"),
        (SplitBenchmark(pixels="standardized"), [FLOATS], "features = 'standardized'"),
        (
            SplitBenchmark(dataset="arrays:b.npz", features="standardized"),
            [BYTES],
            "pixels = 'standardized'",
        ),
        (PairBenchmark, [FLOATS, BYTES], "holds float32, 'arrays:b.npz' uint8"),
        (PairBenchmark, [FLOATS, VECTORS], "arrays are not resized"),
        (PairBenchmark, [DIGITS, BYTES], "arrays are not resized"),
    ],
)
def test_what_inputs_do_not_allow_is_refused(config, kinds, complaint):
    with pytest.raises(StudyError) as caught:
        check_inputs(named(config, kinds), kinds)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        (SplitBenchmark(), [VECTORS]),
        (RotatedBenchmark(), [FLOATS]),
        (SplitBenchmark(pad=2, pixels="standardized"), [BYTES]),
        (PairBenchmark, [BYTES, DIGITS]),
    ],
)
def test_what_they_allow_is_not(config, kinds):
    check_inputs(named(config, kinds), kinds)
