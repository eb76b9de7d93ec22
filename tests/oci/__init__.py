"""Tests of the store and of the way to registries."""
