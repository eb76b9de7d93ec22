"""The version of envbuild, alone, so that any room can ask for it."""

from typing import Final

__all__ = ["__version__"]

__version__: Final = "0.1.0"
