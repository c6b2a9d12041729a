"""The kind of folder that a place has: on a disk, or in an object store."""

from __future__ import annotations

from clsweep.storage.folder_base import Folder
from clsweep.storage.local_folder import LocalFolder
from clsweep.storage.object_folder import ObjectFolder
from clsweep.storage.remote_path import Place, RemotePath


def folder_of(place: Place) -> Folder:
    """The folder at a place.

    Args:
        place: a local path, or one in an object store; nothing needs to be there.
    """
    return ObjectFolder(place) if isinstance(place, RemotePath) else LocalFolder(place)
