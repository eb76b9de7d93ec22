"""The Nox sessions: read arguments, wire the rooms together, show progress, report errors."""
