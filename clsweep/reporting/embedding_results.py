"""The maps of task embeddings that lie in results folders, as `clsweep embeddings` leaves them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from clsweep.errors import StoreError
from clsweep.records.embedding_maps import EMBEDDINGS, EmbeddingMap, embedding_maps
from clsweep.records.tables import sound_parquet
from clsweep.text import command

if TYPE_CHECKING:
    from clsweep.storage.remote_path import Place


def load_maps(places: Sequence[Place]) -> tuple[EmbeddingMap, ...]:
    """The maps of all folders, in their order.

    Args:
        places: results folders.

    Raises:
        StoreError: a folder has none, or its table is damaged.
    """
    found: list[EmbeddingMap] = []
    for place in places:
        path = place / EMBEDDINGS
        try:
            found += embedding_maps(sound_parquet(path.read_bytes(), str(path)))
        except FileNotFoundError:
            raise StoreError(
                "there are no maps of task embeddings",
                expected=f"a file {EMBEDDINGS}, which is made of saved networks",
                where=str(place),
                next_step=f"`{command('clsweep embeddings', place)}`",
            ) from None
        except (ValueError, OSError) as error:
            raise StoreError(
                f"the maps of task embeddings cannot be read: {error}",
                where=str(path),
                next_step=f"make them again: `{command('clsweep embeddings', place)}`",
            ) from error
    return tuple(found)
