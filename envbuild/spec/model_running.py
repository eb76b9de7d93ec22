"""What a spec says of running things: a training run, and a web service with its smoke test.

Read as the types of `envbuild.spec.model` are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from envbuild.spec.formats import (
    ARGUMENT,
    COMMAND_WORD,
    DURATION,
    HEADER,
    HEADER_VALUE,
    MEMORY,
    OUTPUT_PATH,
    RELATIVE_PATH,
    URL_PATH,
    Items,
    Range,
)

__all__ = ["Expect", "Request", "Resources", "Smoke", "Train"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """Limits of a container."""

    cpus: Annotated[
        float | None, Range(above=0, example="2"), "Processors it may use; `0.5` is half of one."
    ] = None
    memory: Annotated[str | None, MEMORY, "Memory it may use, such as `4g`."] = None
    gpus: Annotated[int, Range(least=0), "GPUs it gets."] = 0
    shm_size: Annotated[str | None, MEMORY, "Size of `/dev/shm`."] = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Train:
    """The training run of `nox -s train`."""

    script: Annotated[str, RELATIVE_PATH, "Python script to run, relative to `source`."]
    source: Annotated[
        str,
        RELATIVE_PATH,
        "Folder with the script; a snapshot of it goes into the run, without what git ignores.",
    ] = "."
    arguments: Annotated[
        tuple[str, ...],
        ARGUMENT,
        "Arguments of the script; those of the command line follow them.",
    ] = ()
    outputs: Annotated[
        tuple[str, ...],
        OUTPUT_PATH,
        Items(unique=True),
        "Folders or files below `source` that the script writes, collected afterwards.",
    ] = ("outputs",)
    resources: Annotated[Resources, "Limits of the container."] = field(default_factory=Resources)
    max_duration: Annotated[
        str | None, DURATION, "The run is stopped after this time, such as `90s` or `30d`."
    ] = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Expect:
    """What a response must be."""

    status: Annotated[int, Range(least=100, most=599, example="200"), "Status code."] = 200
    json: Annotated[object, "The response's JSON value."] = None
    contains: Annotated[str | None, "A text that the response's body contains."] = None
    tolerance: Annotated[
        float, Range(least=0, example="0.001"), "How far each number may be from the wanted one."
    ] = 0.0
    max_ms: Annotated[
        int | None, Range(least=1, example="500"), "Longest time, in milliseconds."
    ] = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One request of the smoke test."""

    path: Annotated[str, URL_PATH, "Path and query."] = "/score"
    method: Annotated[
        Literal["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"] | None,
        "Default: POST with a body, GET without.",
    ] = None
    json: Annotated[object, "The body, as a JSON value."] = None
    body: Annotated[str | None, "The body, as text."] = None
    headers: Annotated[
        Mapping[Annotated[str, HEADER], Annotated[str, HEADER_VALUE]], "Request headers."
    ] = field(default_factory=dict)
    expect: Annotated[Expect, "What the response must be."] = field(default_factory=Expect)


@dataclass(frozen=True, kw_only=True, slots=True)
class Smoke:
    """The web service of `nox -s smoke`."""

    entry_script: Annotated[
        str | None,
        RELATIVE_PATH,
        "Script with `init()` and `run()`, served by azureml-inference-server-http.",
    ] = None
    command: Annotated[
        tuple[str, ...] | None,
        COMMAND_WORD,
        Items(least=1),
        "Or: the command that serves, for any web service, as a list of words.",
    ] = None
    port: Annotated[
        int,
        Range(least=1, most=65535, example="5001"),
        "Port that the service listens on, inside the container and at `0.0.0.0`.",
    ] = 5001
    source: Annotated[
        str, RELATIVE_PATH, "Folder with the service's code, without what git ignores."
    ] = "."
    models: Annotated[
        tuple[str, ...],
        RELATIVE_PATH,
        Items(unique=True),
        "Files for the folder that the service finds in `AZUREML_MODEL_DIR`: "
        "paths in the repository, or outputs of the latest run.",
    ] = ()
    resources: Annotated[Resources, "Limits of the container."] = field(default_factory=Resources)
    ready_path: Annotated[
        str, URL_PATH, "Path that answers, with a status below 500, once the service is ready."
    ] = "/"
    ready_timeout: Annotated[str, DURATION, "Longest time until it is ready."] = "60s"
    request: Annotated[tuple[Request, ...], "The requests to send."] = ()
