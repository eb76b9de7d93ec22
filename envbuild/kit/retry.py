"""How requests are tried again: what may pass, how often, and how long between."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["RETRIED_STATUSES", "FailureKind", "Patience"]

FailureKind = Literal["name", "refused", "timeout", "tls", "proxy", "cut", "other"]
"""Why there was no answer."""

RETRIED_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers that may be different a moment later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long a request is waited for and how often it is tried again; all times in seconds."""

    attempts: int = 4
    delay: float = 0.5
    """Pause before the second attempt; it doubles with each further one."""
    longest: float = 30.0
    """No pause is longer, whatever a server's `Retry-After` asks for."""
    connect: float = 10.0
    read: float = 60.0
    """Longest silence of a server in the middle of a request."""

    def pause(self, attempt: int, retry_after: str | None = None) -> float:
        """Return the pause after attempt number `attempt` (from 1) failed.

        `retry_after` is the header of RFC 9110, section 10.2.3: seconds or a date.
        """
        asked = _parse_retry_after(retry_after)
        if asked is not None:
            return min(asked, self.longest)
        import random

        # The spread keeps many clients that failed together from coming back together.
        spread = random.uniform(0.75, 1.25)  # noqa: S311 - spreads retries, guards nothing
        return min(self.delay * 2.0 ** (attempt - 1) * spread, self.longest)


def _parse_retry_after(text: str | None) -> float | None:
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    import email.utils

    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None
    return max(0.0, moment - time.time())
