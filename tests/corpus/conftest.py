"""The fixtures of the corpus."""

from tests.corpus.wheels import corpus

__all__ = ["corpus"]
