"""The kind of folder that a place has: the one line that knows local and object storage apart."""

from __future__ import annotations

from clsweep.folder_base import Folder
from clsweep.folders import Place, RemotePath
from clsweep.local_folder import LocalFolder
from clsweep.object_folder import ObjectFolder

__all__ = ["folder_of"]


def folder_of(place: Place) -> Folder:
    """The folder at a place.

    Args:
        place: a local path, or one in an object store; nothing needs to be there.
    """
    return ObjectFolder(place) if isinstance(place, RemotePath) else LocalFolder(place)
