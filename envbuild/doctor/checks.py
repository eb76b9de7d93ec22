"""The checks by name, in the order of their findings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from envbuild.doctor.archives import check_archives
from envbuild.doctor.channels import check_channels
from envbuild.doctor.clock import check_clock
from envbuild.doctor.credentials import check_credentials
from envbuild.doctor.disk import check_disk
from envbuild.doctor.engine import check_engine
from envbuild.doctor.finding import Check
from envbuild.doctor.indexes import check_indexes
from envbuild.doctor.pythons import check_pythons
from envbuild.doctor.registry import check_registries
from envbuild.doctor.repository import check_repository
from envbuild.doctor.tools import check_tools

__all__ = ["CHECKS"]

CHECKS: Final[Mapping[str, Check]] = {
    "repository": check_repository,
    "tools": check_tools,
    "pythons": check_pythons,
    "disk": check_disk,
    "clock": check_clock,
    "credentials": check_credentials,
    "indexes": check_indexes,
    "archives": check_archives,
    "channels": check_channels,
    "registry": check_registries,
    "engine": check_engine,
}
