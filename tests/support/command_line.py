"""Commands run in the test's own process, and a study of next to no training for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsweep.cli.main import main

TINY = """\
name = "tiny"
seeds = {seeds}
[benchmark]
name = "split"
examples_per_task = 40
[net]
{net}
[training]
steps = {steps}
[resources]
device = "cpu"
[[methods]]
name = "finetune"
[[methods]]
name = "ewc"
lam = {lam}
"""


def tiny_study(
    folder: Path,
    *,
    seeds: int = 1,
    net: str = "hidden = [4]",
    steps: int = 2,
    lam: str = "[1.0]",
    more: str = "",
) -> Path:
    """A study file of fine-tuning and EWC in `folder`; `more` is added at its end."""
    path = folder / "study.toml"
    text = TINY.format(seeds=seeds, net=net, steps=steps, lam=lam)
    path.write_text(text + more, encoding="utf-8")
    return path


class Ran:
    """Exit code and output of a command that left no traceback."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        assert "Traceback" not in err, err

    def is_mistake(self, *words: str) -> None:
        """Assert exit code 2 and exactly one message, which says all the words."""
        assert self.code == 2, self.out + self.err
        assert self.err.count("error: ") == 1, self.err
        message = self.err[self.err.index("error: ") :]
        for word in words:
            assert word in message, message


class CommandLine:
    """`clsweep` as a function."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: object) -> Ran:
        """Run a command."""
        self.capsys.readouterr()
        code = main([str(a) for a in arguments])
        return Ran(code, *self.capsys.readouterr())
