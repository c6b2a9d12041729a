import pytest

from clsweep.data.benchmark_specs import SplitBenchmark
from clsweep.data.factory_calls import factory_call


@pytest.mark.parametrize(
    ("name", "path", "arguments"),
    [
        ("factory:my.data:load", "my.data:load", {}),
        ("factory:data:load()", "data:load", {}),
        ("factory:data:load(n=3, noise = -0.5)", "data:load", {"n": 3, "noise": -0.5}),
        (
            "factory:data:load(kind='a)(b', all=True, of=[1, 2])",
            "data:load",
            {"kind": "a)(b", "all": True, "of": [1, 2]},
        ),
    ],
)
def test_a_name_says_what_is_called_with_what(name, path, arguments):
    assert factory_call(name) == (path, arguments)


@pytest.mark.parametrize(
    "name",
    [
        "factory:",
        "factory:data",
        "factory:data.load",
        "factory:data:load(3)",
        "factory:data:load(n=3",
        "factory:data:load(n=3) + 1",
        "factory:data:load(n=open('x'))",
        "factory:data:load(n=__import__('os').system('true'))",
        "factory:data:load(**{'n': 3})",
        "factory:data:load)(n=3)",
    ],
)
def test_what_is_no_call_with_plain_arguments_is_refused(name):
    with pytest.raises(ValueError, match="expected factory:package.module:function|one by one"):
        factory_call(name)
    with pytest.raises(ValueError, match="factory:"):
        SplitBenchmark(dataset=name)


def test_an_argument_that_is_given_twice_is_refused_with_both_values():
    with pytest.raises(ValueError, match="argument 'n' more than once: n=1 and n=2"):
        factory_call("factory:data:load(n=1, kind='a', n=2)")
