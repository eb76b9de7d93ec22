"""What the stories share."""

from __future__ import annotations

from tests.rig.disk import small_disk

__all__ = ["small_disk"]
