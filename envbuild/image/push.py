"""Makes sure that the registry has exactly the wanted image, and sends only what it lacks.

Every question has three answers: it is there, it is not there, or an error. "Could not tell" is
never taken for either of the first two.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from envbuild.errors import ImageError, RegistryError
from envbuild.image.blobs import ensure_blobs, forget_lost, list_blobs
from envbuild.image.config import DIGEST_LABEL, KEY
from envbuild.image.ensure import Ensured, ensure_environment, find_environment
from envbuild.image.plan import EnvironmentPlan
from envbuild.image.site import Site
from envbuild.oci.descriptor import Descriptor
from envbuild.oci.reference import Reference, parse_reference

if TYPE_CHECKING:
    from envbuild.oci.registry import Registry

__all__ = ["Pushed", "ensure_pushed", "find_pushed"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """What a push did: nothing (`there` is True), or so many blobs and bytes.

    `manifest` is the image in the store; None where only the registry has all of it.
    """

    there: bool
    manifest: Descriptor | None
    sent: int = 0
    mounted: int = 0
    bytes: int = 0
    listed: int = 0
    ensured: Ensured | None = None


def ensure_pushed(site: Site, plan: EnvironmentPlan) -> Pushed:
    """Make sure that the registry has the image; assembles it only if the registry lacks it.

    With a fresh site it is assembled and compared all the same, and the registry is asked for each
    blob: what it lost behind a tag that it kept is sent again. Raises `RegistryError` where the
    registry can't tell, and `ImageError` where the tag holds an image of another identity.
    """
    if plan.repository is None:
        raise RegistryError(
            "registry.not-set",
            f"there is no registry to push `{plan.name}` to",
            hint='set `repository = "registry.example.com/team"` under `[tool.envbuild]` in '
            "`pyproject.toml`, or the variable ENVBUILD_REPOSITORY",
        )
    reference = parse_reference(plan.reference)
    registry = site.open_registry(reference.registry)
    remote = find_pushed(site, plan)
    if remote is not None:
        local = find_environment(site, plan)
        if local is None or local.digest != remote.digest:
            _check_identity(site, plan, registry, reference, remote)
        if not site.fresh:
            return Pushed(there=True, manifest=local)
    try:
        return _push(site, plan, registry, reference)
    except ImageError as error:
        # What this machine knew of registries was of yesterday: they have lost layers since.
        if error.code != "image.blob-gone":
            raise
        return _push(site, plan, registry, reference)


def find_pushed(site: Site, plan: EnvironmentPlan) -> Descriptor | None:
    """Return what the registry has under the image's reference; None only if it has nothing.

    Raises `RegistryError` where the registry can't tell.
    """
    reference = parse_reference(plan.reference)
    registry = site.open_registry(reference.registry)
    return registry.find_manifest(reference.repository, reference.target)


def _check_identity(
    site: Site, plan: EnvironmentPlan, registry: Registry, reference: Reference, remote: Descriptor
) -> None:
    """Make sure that the tag, of which only a part is in its name, is of this very image."""
    try:
        data = site.store.read(remote.digest)  # of an earlier look
    except ImageError:
        _, data = registry.read_manifest(reference.repository, remote.digest)
        site.store.add(data)
    annotations = json.loads(data).get("annotations") or {}
    if annotations.get(DIGEST_LABEL) != plan.digest:
        raise ImageError(
            "image.tag-taken",
            f"`{plan.reference}` holds an image that was not made from this lock",
            hint="remove that tag from the registry, or push to another repository",
        )


def _push(site: Site, plan: EnvironmentPlan, registry: Registry, reference: Reference) -> Pushed:
    from envbuild.oci.transfer import push_image

    ensured = ensure_environment(site, plan)
    blobs = _list_all(site, ensured.manifest)

    def fetch(blob: Descriptor) -> None:
        try:
            ensure_blobs(site, [blob], task=plan.name)
        except ImageError as error:
            if error.code == "image.blob-gone":
                forget_lost(site, blobs)  # so that one further build makes all of them
            raise

    report = push_image(
        site.store,
        ensured.manifest,
        reference,
        registry,
        known={blob.digest: site.origins.find(blob.digest) for blob in blobs},
        fetch=fetch,
        doubt=site.fresh,
        progress=site.progress,
        task=plan.name,
    )
    for blob in blobs:
        site.origins.remember(blob.digest, reference.name)
    listed = _publish(site, plan, ensured.manifest, reference, report.sent)
    return Pushed(
        there=False,
        manifest=ensured.manifest,
        sent=report.blobs_sent,
        mounted=report.blobs_mounted,
        bytes=report.bytes_sent,
        listed=listed,
        ensured=ensured,
    )


def _list_all(site: Site, manifest: Descriptor) -> list[Descriptor]:
    """Return the blobs of an image or of all images of an index."""
    blobs = [b for child in _list_children(site, manifest) for b in list_blobs(site, child)]
    return list({blob.digest: blob for blob in blobs}.values())


def _list_children(site: Site, manifest: Descriptor) -> list[Descriptor]:
    if not manifest.is_index:
        return [manifest]
    index = json.loads(site.store.read(manifest.digest))
    return [Descriptor.from_json(child) for child in index["manifests"]]


def _publish(
    site: Site,
    plan: EnvironmentPlan,
    manifest: Descriptor,
    reference: Reference,
    sent: frozenset[str],
) -> int:
    """List the image's layers in the layer index; that it can't be done is only noted.

    That one of `sent` was listed before is not believed: the registry didn't have it.
    """
    from envbuild.image.layer_index import open_index
    from envbuild.image.shelf import find_layer

    index = open_index(site, str(plan.repository))
    if index is None:
        return 0
    keys = {
        key: layer
        for child in _list_children(site, manifest)
        for described in json.loads(site.store.read(child.digest))["layers"]
        if (key := (described.get("annotations") or {}).get(KEY))
        and (layer := find_layer(site, key, ""))
    }
    try:
        return index.publish(
            keys.values(), source=reference.repository, task=plan.name, doubted=sent
        )
    except RegistryError as error:
        site.progress.note(f"layers are not listed in `{index.name}`: {error.message}")
        return 0
