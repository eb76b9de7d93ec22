"""Tests of the `start` room."""
