"""Memory of files that are mapped for reading."""

from __future__ import annotations

import mmap


def drop_pages(mapping: mmap.mmap | None) -> None:
    """Give back the memory of what was read of a mapped file; it is read again when asked for.

    Args:
        mapping: mapped for reading, so that nothing is lost; None for nothing.
    """
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)
