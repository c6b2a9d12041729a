"""What a study's net needs besides its file: weights, or a factory; looked for without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clsweep.code_files import factory_complaint
from clsweep.errors import StudyError
from clsweep.surroundings import expanded

if TYPE_CHECKING:
    from clsweep.settings import NetConfig

__all__ = ["check_factory", "weights_file"]


def check_factory(config: NetConfig) -> None:
    """Refuse a factory that cannot be imported, as far as it shows without importing it.

    Args:
        config: the study's `[net]`.

    Raises:
        StudyError: there is no such module, or no such name in it.
    """
    complaint = factory_complaint(config.factory) if config.name == "custom" else ""
    if complaint:
        raise StudyError(
            f"'{config.factory}' cannot be imported: {complaint}",
            expected="package.module:factory",
            where="[net] factory",
            next_step="the module must be importable here and on every worker (installed, or in "
            "the current folder with PYTHONPATH=.)",
        )


def weights_file(config: NetConfig, root: Path | None) -> Path | None:
    """Where the pretrained weights lie, or None if the net starts from drawn ones.

    Args:
        config: the study's `[net]`.
        root: the data root; a relative path is looked up there, or in the current folder if None.
            What lies beside the study file comes before, see `Study.located_net`.

    Raises:
        StudyError: there is no such file; nothing is ever downloaded.
    """
    if not config.weights:
        return None
    path = expanded(Path(config.weights), "[net] weights")
    path = path if root is None else root / path
    if path.is_file():
        return path
    model = config.model
    raise StudyError(
        f"there is no file '{path}' with weights of '{model}', and none is downloaded",
        expected="a file with the model's state dict (.pth, .pt or .safetensors), beside the "
        "study file or below the data root if the path is relative",
        where="[net] weights",
        next_step="where there is a network: import torch, torchvision; torch.save("
        f"torchvision.models.get_model('{model}', weights='DEFAULT').state_dict(), "
        f"'{model}.pth')",
    )
