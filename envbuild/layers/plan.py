"""What a layer's bytes depend on besides its packages: the assembler's version and constants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

__all__ = [
    "ALONE",
    "ALONE_BYTES",
    "ASSEMBLER",
    "BUCKETS",
    "CHUNK",
    "CONDA_BUCKETS",
    "DEBIAN_BASE",
    "DEBIAN_BUCKETS",
    "ENCODER",
    "FRAME",
    "LEVEL",
    "PART_BYTES",
    "SPLICE_BYTES",
    "ZSTD_ENCODER",
    "ZSTD_LEVEL",
    "Compression",
    "byte_constants",
    "plan_constants",
]

Compression = Literal["gzip", "zstd"]

ASSEMBLER: Final = 2
"""Version of the code in this room; part of every image's identity.

Raise it with any change that makes other bytes of the same packages: the golden tests in
`tests/layers/` fail until that is done.
"""

ENCODER: Final = "libdeflate/deflate-0.9.0"
"""The one encoder of gzip whose output reaches a digest; pyproject.toml pins the package."""

LEVEL: Final = 1
"""libdeflate's level. On conda's content level 2 makes 4% less in 1.5 times the time; on wheels,
most of which is kept as it is, 0.1% less."""

CHUNK: Final = 1 << 20
"""Plain bytes of one gzip member that the encoder made."""

SPLICE_BYTES: Final = 4 << 10
"""A deflate stream is kept as it is from this plain size on; smaller ones are packed together.

Keeping one costs a member of its own for the header before it, about 20 us; packing it anew costs
8 ns a byte. From 16 KiB on, layers of wheels are 0.6% smaller and take a tenth more time."""

ZSTD_ENCODER: Final = "libzstd-1.5.7/zstandard-0.25.0"
"""The one encoder of zstd whose output reaches a digest; pyproject.toml pins the package."""

ZSTD_LEVEL: Final = 3
"""zstd's own default. Up to level 4 it searches in the same way on every processor; the row-based
search of levels 5 to 12 asks whether there is SIMD."""

FRAME: Final = 2 << 20
"""Plain bytes of one zstd frame. Half of it makes 2% more bytes; twice makes 1% less, and outgrows
the caches that make it quick."""

ALONE: Final = 40
"""How many layers the biggest packages get for themselves; a simulation says why (docs)."""

ALONE_BYTES: Final = 1 << 20
"""From this size on (of the archive) a package has a layer of its own in every environment, while
there is room; a smaller one never has: layers cost an engine time, too."""

PART_BYTES: Final = 512 << 20
"""A bigger archive is split over several layers, of about a gigabyte of plain content each."""

BUCKETS: Final = 8
"""Layers that the other wheels share."""

CONDA_BUCKETS: Final = 8
"""Layers that the other conda packages share."""

DEBIAN_BUCKETS: Final = 2
"""Layers that the other Debian packages share, but for those of every image."""

DEBIAN_BASE: Final = frozenset({
    "base-files", "bash", "ca-certificates", "coreutils", "dash", "debianutils", "findutils",
    "grep", "libacl1", "libattr1", "libc-bin", "libc6", "libcrypt1", "libgcc-s1", "libgmp10",
    "libpcre2-8-0", "libselinux1", "libstdc++6", "libtinfo6", "mawk", "ncurses-base", "netbase",
    "sed", "tzdata", "zlib1g",
})  # fmt: skip
"""What every image on `debian:SUITE` has (`lock.debian.BASE_PACKAGES` and what they need, with
the `gcc-NN-base` of the suite): one layer for all of them. A package that only some suites' base
needs is left out, for elsewhere it would come and go with what else is asked for."""

_GROUPING: Final[Mapping[str, int | str]] = {
    "alone": ALONE,
    "alone-bytes": ALONE_BYTES,
    "buckets": BUCKETS,
    "conda-buckets": CONDA_BUCKETS,
    "debian-base": " ".join(sorted(DEBIAN_BASE)),
    "debian-buckets": DEBIAN_BUCKETS,
    "part-bytes": PART_BYTES,
}

_BYTES: Final[Mapping[Compression, Mapping[str, int | str]]] = {
    "gzip": {
        "chunk": CHUNK,
        "compression": "gzip",
        "encoder": ENCODER,
        "level": LEVEL,
        "splice-bytes": SPLICE_BYTES,
    },
    "zstd": {
        "compression": "zstd",
        "encoder": ZSTD_ENCODER,
        "frame": FRAME,
        "level": ZSTD_LEVEL,
    },
}


def byte_constants(compression: Compression) -> Mapping[str, int | str]:
    """Return the constants that a layer's bytes depend on, for the layer's key."""
    return _BYTES[compression]


def plan_constants(compression: Compression) -> Mapping[str, int | str]:
    """Return all constants, those that only decide which packages share a layer too.

    They are for an image's identity: its bytes depend on them all.
    """
    return {**_GROUPING, **_BYTES[compression]}
