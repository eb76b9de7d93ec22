"""What is done with a repository's environments: the functions that sessions and scripts share."""
