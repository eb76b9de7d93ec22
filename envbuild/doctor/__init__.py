"""Whether machine and repository are ready: one module for each thing that is looked at."""
