"""Remove containers: one by name, and all that processes of this machine left behind."""

from __future__ import annotations

from typing import Final

from envbuild.engine.client import Engine, explained
from envbuild.engine.owner import is_gone
from envbuild.errors import EngineError

__all__ = ["OWNER_LABEL", "RUN_LABEL", "reap_leftovers", "remove_container"]

OWNER_LABEL: Final = "envbuild.owner"
"""Label of every container that envbuild creates: the process that answers for it."""
RUN_LABEL: Final = "envbuild.run"
"""Label with the ID of the training run or smoke test."""


def remove_container(engine: Engine, name: str) -> bool:
    """Kill and remove a container with its anonymous volumes; False if there is none."""
    from docker.errors import APIError, NotFound

    with explained(f"remove container `{name}`", address=engine.address):
        try:
            engine.client.api.remove_container(name, force=True, v=True)
        except NotFound:
            return False
        except APIError as error:
            # 409: somebody else is removing it right now, which is as good.
            if error.status_code != 409 or "already in progress" not in str(error.explanation):
                raise
    return True


def reap_leftovers(engine: Engine) -> tuple[str, ...]:
    """Remove the containers whose owner was a process of this machine that is gone.

    Returns their names. A container that another machine or a living process owns stays, and
    one that can't be removed now is left for the next time.
    """
    with explained("list the containers", address=engine.address):
        found = engine.client.api.containers(all=True, filters={"label": [OWNER_LABEL]})
    removed = []
    for entry in found:
        if not is_gone(entry["Labels"].get(OWNER_LABEL, "")):
            continue
        name = (entry["Names"] or [entry["Id"]])[0].lstrip("/")
        try:
            if remove_container(engine, name):
                removed.append(name)
        except EngineError:
            continue
    return tuple(removed)
