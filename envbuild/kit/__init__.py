"""Plain tools that know nothing of environments: files, digests, downloads, processes."""
