"""Tests of envbuild's promises, on real parts."""
