"""What a spec says: the frozen types that are reader, JSON schema and reference at once.

A field's TOML key is its name with `-` for `_`. A field without a default is required. The
`Annotated` text is the field's documentation; a `Format` narrows a string (or each string of a
list, or each value of a table) and brings its own expectation for error messages; a `Range`
narrows a number, and `Items` a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from envbuild.spec.formats import (
    ABSOLUTE_PATH,
    ARCHSPEC,
    BUILD_TARGET,
    CHANNEL,
    CONDA_SPEC,
    DEBIAN_PACKAGE,
    DISTRIBUTION,
    DOCKERFILE,
    ENVIRONMENT_NAME,
    ENVIRONMENT_VARIABLE,
    IMAGE_BASE,
    INDEX_URL,
    LABEL,
    LIMIT,
    LINE,
    LOCAL_TREE,
    MOMENT,
    PLATFORM,
    PYTHON,
    RELATIVE_PATH,
    REPOSITORY,
    REQUIREMENT,
    SECRET_ID,
    SUITE,
    TARGET_PATH,
    USER,
    VERSION,
    Items,
)
from envbuild.spec.model_running import Smoke, Train

__all__ = [
    "Conda",
    "EnvSpec",
    "Image",
    "ImageSource",
    "Pip",
    "PlatformConda",
    "PlatformExtra",
    "PlatformPip",
    "PlatformSystem",
    "System",
    "VirtualPackages",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class VirtualPackages:
    """What the target machine offers; never read from the machine that locks."""

    glibc: Annotated[str | None, VERSION, "Version of glibc, such as `2.36`."] = None
    cuda: Annotated[str | None, VERSION, "Highest CUDA version the driver supports."] = None
    linux: Annotated[str | None, VERSION, "Version of the Linux kernel."] = None
    osx: Annotated[str | None, VERSION, "Version of macOS."] = None
    archspec: Annotated[str | None, ARCHSPEC, "Microarchitecture, such as `x86_64_v3`."] = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Conda:
    """Python and packages from conda channels; without this table Python comes from the base."""

    channels: Annotated[
        tuple[str, ...],
        CHANNEL,
        Items(least=1, unique=True),
        "Channels, by name or URL; their order is their priority and counts.",
    ] = ("conda-forge",)
    dependencies: Annotated[
        tuple[str, ...], CONDA_SPEC, "Match specs: a name, and what versions may do (`numpy 2.*`)."
    ] = ()
    without: Annotated[
        tuple[str, ...],
        DISTRIBUTION,
        Items(unique=True),
        "Packages that are not taken over from what the spec extends.",
    ] = ()
    virtual_packages: Annotated[VirtualPackages, "What the target machine offers."] = field(
        default_factory=VirtualPackages
    )
    link_scripts: Annotated[
        Literal["refuse", "run", "ignore"],
        "What becomes of packages that want to run a script when they are installed: an error, or "
        "the scripts run in a container without network and their changes become a layer, or the "
        "scripts stay where they are and don't run.",
    ] = "refuse"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pip:
    """Packages from Python package indexes, from this repository and from git repositories."""

    dependencies: Annotated[
        tuple[str, ...],
        REQUIREMENT,
        "Requirements, as pip takes them; also wheels of this repository (`./wheels/...whl`) and "
        "git repositories (`name @ git+https://...@COMMIT`).",
    ] = ()
    without: Annotated[
        tuple[str, ...],
        DISTRIBUTION,
        Items(unique=True),
        "Packages that are not taken over from what the spec extends.",
    ] = ()
    constraints: Annotated[
        tuple[str, ...],
        LIMIT,
        Items(unique=True),
        "Limits on versions of packages that something else asks for; they bring in nothing.",
    ] = ()
    overrides: Annotated[
        tuple[str, ...],
        LIMIT,
        Items(unique=True),
        "What stands in place of everything that asks for that package, limits of other packages "
        "included; a name alone takes any version. pip-compile has no such thing, so uv resolves.",
    ] = ()
    build_from_source: Annotated[
        tuple[str, ...],
        DISTRIBUTION,
        Items(unique=True),
        "Packages that may be built from source, which runs their own code on this machine: those "
        "from git repositories, and those whose versions have no fitting wheel.",
    ] = ()
    local: Annotated[
        tuple[str, ...],
        LOCAL_TREE,
        Items(unique=True),
        "Folders of this repository with a Python project: its dependencies are locked, the "
        "project itself is the image's last layer as it is at each build, and is editable with "
        "`--target local`.",
    ] = ()
    index_url: Annotated[
        str | None, INDEX_URL, "The index to use in place of the one pip is configured for."
    ] = None
    extra_index_urls: Annotated[
        tuple[str, ...],
        INDEX_URL,
        Items(unique=True),
        "More indexes. A credential is a reference: `${TOKEN}`.",
    ] = ()
    resolver: Annotated[
        Literal["pip-tools", "uv"],
        "Who resolves for this machine's platform; for others it is always uv.",
    ] = "pip-tools"


@dataclass(frozen=True, kw_only=True, slots=True)
class System:
    """Debian packages, unpacked into the image without running their maintainer scripts."""

    packages: Annotated[
        tuple[str, ...],
        DEBIAN_PACKAGE,
        Items(unique=True),
        "Names of Debian packages; other platforms than Linux go without them.",
    ] = ()
    without: Annotated[
        tuple[str, ...],
        DEBIAN_PACKAGE,
        Items(unique=True),
        "Packages that are not taken over from what the spec extends.",
    ] = ()
    suite: Annotated[
        str | None, SUITE, "Debian suite they come from; default: the one that `image.base` names."
    ] = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageSource:
    """Files of the repository as a layer of the image, above all packages."""

    path: Annotated[
        str,
        RELATIVE_PATH,
        "Folder or file of the repository, relative to its root, without what git ignores. It is "
        "taken as it is at each build; the lock has nothing of it.",
    ]
    target: Annotated[
        str,
        TARGET_PATH,
        "Where the image has it: the folder's files are below this path, a file is at it.",
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """What the image stands on and how it presents itself."""

    base: Annotated[
        str | None,
        IMAGE_BASE,
        "A registry image (locked to its digest), `debian:SUITE` (assembled from locked "
        "packages), or `scratch`; default: `debian:bookworm`, or what `dockerfile` builds.",
    ] = None
    dockerfile: Annotated[
        str | None,
        DOCKERFILE,
        "In place of `base`: a Dockerfile by its path in the repository, or its text. Docker "
        "Engine builds it once for each content; such an image is not reproducible.",
    ] = None
    context: Annotated[
        str | None,
        RELATIVE_PATH,
        "Folder of the repository that `COPY` takes from, without what `.dockerignore` names; "
        "default: the Dockerfile's own, or nothing for a text.",
    ] = None
    build_args: Annotated[
        Mapping[Annotated[str, ENVIRONMENT_VARIABLE], str],
        "Values of the Dockerfile's `ARG`s; they are kept with the image, so no secrets.",
    ] = field(default_factory=dict)
    build_secrets: Annotated[
        Mapping[Annotated[str, SECRET_ID], Annotated[str, ENVIRONMENT_VARIABLE]],
        "Secrets for `RUN --mount=type=secret,id=ID`: the variable of this machine that holds "
        "each. They are in no layer, and another value doesn't build anew.",
    ] = field(default_factory=dict)
    build_target: Annotated[
        str | None, BUILD_TARGET, "Stage of the Dockerfile to build; default: the last."
    ] = None
    repository: Annotated[
        str | None, REPOSITORY, "Where to push: registry and path, without tag."
    ] = None
    user: Annotated[
        str, USER, "User that the image runs as: `root`, `nonroot`, `UID` or `UID:GID`."
    ] = "root"
    interpreter: Annotated[
        str | None,
        ABSOLUTE_PATH,
        "Path of Python in the base image, where the base brings Python itself.",
    ] = None
    user_managed: Annotated[
        bool,
        "Whether the base brings Python with all packages itself, and none is added to it.",
    ] = False
    bytecode: Annotated[
        bool | None,
        "Whether the image holds byte code: the first import is quicker, the image a third bigger. "
        "Default: yes, unless the base brings Python; that one has to be on the machine that "
        "builds, in exactly its version, to compile.",
    ] = None
    labels: Annotated[Mapping[Annotated[str, LABEL], str], "Labels of the image."] = field(
        default_factory=dict
    )
    source: Annotated[
        tuple[ImageSource, ...], "Files of the repository that the image holds, a layer each."
    ] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformConda:
    """More packages from the conda channels, for one platform."""

    dependencies: Annotated[tuple[str, ...], CONDA_SPEC, "Match specs, as in `[conda]`."] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformPip:
    """More packages from the Python package indexes, for one platform."""

    dependencies: Annotated[tuple[str, ...], REQUIREMENT, "Requirements, as in `[pip]`."] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformSystem:
    """More Debian packages, for one platform."""

    packages: Annotated[
        tuple[str, ...], DEBIAN_PACKAGE, Items(unique=True), "Names, as in `[system]`."
    ] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class PlatformExtra:
    """Packages that one platform gets beside those that all get."""

    conda: Annotated[PlatformConda, "Packages from conda channels."] = field(
        default_factory=PlatformConda
    )
    pip: Annotated[PlatformPip, "Packages from Python package indexes."] = field(
        default_factory=PlatformPip
    )
    system: Annotated[PlatformSystem, "Debian packages."] = field(default_factory=PlatformSystem)


@dataclass(frozen=True, kw_only=True, slots=True)
class EnvSpec:
    """One environment, as its file `envs/NAME.toml` declares it."""

    description: Annotated[str, LINE, "One line for people."] = ""
    extends: Annotated[
        str | None,
        ENVIRONMENT_NAME,
        "Environment that this one is made from: of another file in `envs/`, or one that comes "
        "with envbuild; see [What a spec inherits](#what-a-spec-inherits).",
    ] = None
    platforms: Annotated[
        tuple[str, ...], PLATFORM, Items(least=1, unique=True), "Platforms to lock for."
    ] = ("linux-64",)
    python: Annotated[str, PYTHON, "Version of Python, such as `3.11.*`."]
    exclude_newer: Annotated[
        str | None,
        MOMENT,
        "Packages of conda and pip that were published after this day (in UTC) or time are not "
        "seen when the environment is locked. Debian packages and bases are those of today.",
    ] = None
    conda: Annotated[Conda | None, "Python and packages from conda channels."] = None
    pip: Annotated[Pip, "Packages from Python package indexes."] = field(default_factory=Pip)
    system: Annotated[System, "Debian packages."] = field(default_factory=System)
    platform: Annotated[
        Mapping[Annotated[str, PLATFORM], PlatformExtra],
        "What one platform gets beside that, by the platform.",
    ] = field(default_factory=dict)
    image: Annotated[Image, "What the image stands on."] = field(default_factory=Image)
    env: Annotated[
        Mapping[Annotated[str, ENVIRONMENT_VARIABLE], str],
        "Variables at run time; not part of the image. `${VAR}` stands for a variable of the "
        "machine that runs, whose value is written nowhere.",
    ] = field(default_factory=dict)
    train: Annotated[Train | None, "The training run."] = None
    smoke: Annotated[Smoke | None, "The web service and its smoke test."] = None
