"""The tests' own world: a conda channel, a registry, an engine, servers; made and cleaned up here."""
