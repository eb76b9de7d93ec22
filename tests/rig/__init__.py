"""The tests' own world: a conda channel, a registry, an engine; made and cleaned up here."""
