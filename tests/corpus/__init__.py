"""Real packages, compared with what the installers make of them (`pytest -m corpus`)."""
