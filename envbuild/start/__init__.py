"""What a repository begins with: its first files, and an environment to write on from."""
