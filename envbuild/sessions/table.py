"""The sessions by name: which module does each, and its line in a listing."""

from __future__ import annotations

from typing import Final

__all__ = ["SESSIONS"]

SESSIONS: Final = {
    "init": ("init", "Have this folder use envbuild: noxfile, first environment."),
    "scaffold": ("scaffold", "Write a new environment to write on from."),
    "envs": ("envs", "List the environments, the repository's and those that come along."),
    "lock": ("lock", "Resolve environments into lockfiles."),
    "add": ("edit", "Add packages to an environment, and lock it again."),
    "remove": ("edit", "Remove packages from an environment, and lock it again."),
    "rebase": ("rebase", "Put environments on the newest base; their own layers stay."),
    "check": ("check", "Check that every lockfile is up to date; no network, no solve."),
    "build-env": ("build", "Build the image of each environment, if it isn't there already."),
    "show": ("show", "Show what is in an environment's image, layer by layer."),
    "layer-index": ("layer_index", "List the layers of all images in the registry anew."),
    "train": ("train", "Run an environment's training script in its image."),
    "local-env": ("local_env", "Make an environment from its lock as a folder to work in."),
    "kernel": ("kernel", "Install an environment as a Jupyter kernel."),
    "smoke": ("smoke", "Start an environment's web service and test it."),
    "ci-matrix": ("ci_matrix", "Print the jobs that CI has to run, as JSON for its matrix."),
    "explain": ("explain", "Show what an image tag is made of, or why two tags differ."),
    "doctor": (
        "doctor",
        "Check tools, engine, registry, disk and repository; say how to mend each.",
    ),
}
"""Session name to its module in this package, and its line in `nox --list`."""
