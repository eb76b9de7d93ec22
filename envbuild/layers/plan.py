"""What a layer's bytes depend on besides its packages: the assembler's version and constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = [
    "ALONE",
    "ALONE_BYTES",
    "ASSEMBLER",
    "BUCKETS",
    "CHUNK",
    "CONDA_BUCKETS",
    "DEBIAN_BUCKETS",
    "ENCODER",
    "LEVEL",
    "PLAN",
    "SPLICE_BYTES",
]

ASSEMBLER: Final = 1
"""Version of the code in this room; part of every image's identity.

Raise it with any change that makes other bytes of the same packages: the golden tests in
`tests/layers/` fail until that is done.
"""

ENCODER: Final = "libdeflate/deflate-0.9.0"
"""The one encoder whose output reaches a digest; pyproject.toml pins the package."""

LEVEL: Final = 2
"""libdeflate's level: the knee of the curve (level 6 makes 6% less in twice the time)."""

CHUNK: Final = 1 << 20
"""Plain bytes of one member that the encoder made."""

SPLICE_BYTES: Final = 16 << 10
"""A deflate stream is kept as it is from this plain size on; smaller ones are packed together."""

ALONE: Final = 12
"""How many of the biggest wheels get a layer of their own."""

ALONE_BYTES: Final = 1 << 20
"""A smaller wheel never gets a layer of its own: layers cost an engine time, too."""

BUCKETS: Final = 8
"""Layers that the other wheels share."""

CONDA_BUCKETS: Final = 12
"""Layers that the conda packages share, but for Python, which has its own."""

DEBIAN_BUCKETS: Final = 2
"""Layers that the Debian packages share, below all others."""

PLAN: Final[Mapping[str, int | str]] = {
    "alone": ALONE,
    "alone-bytes": ALONE_BYTES,
    "buckets": BUCKETS,
    "chunk": CHUNK,
    "conda-buckets": CONDA_BUCKETS,
    "debian-buckets": DEBIAN_BUCKETS,
    "encoder": ENCODER,
    "level": LEVEL,
    "splice-bytes": SPLICE_BYTES,
}
"""All of the above for an image's identity."""
