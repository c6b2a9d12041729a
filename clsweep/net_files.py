"""The file of pretrained weights that a study names; looked for without torch, when it is read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clsweep.errors import StudyError
from clsweep.surroundings import expanded

if TYPE_CHECKING:
    from clsweep.settings import NetConfig

__all__ = ["weights_file"]


def weights_file(config: NetConfig, root: Path | None) -> Path | None:
    """Where the pretrained weights lie, or None if the net starts from drawn ones.

    Args:
        config: the study's `[net]`.
        root: the data root; a relative path is looked up there, or in the current folder if None.

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
        expected="a file with the model's state dict (.pth, .pt or .safetensors), below the data "
        "root if the path is relative",
        where="[net] weights",
        next_step="where there is a network: import torch, torchvision; torch.save("
        f"torchvision.models.get_model('{model}', weights='DEFAULT').state_dict(), "
        f"'{model}.pth')",
    )
