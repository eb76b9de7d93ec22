"""Promises of conda's link scripts: run once, in order, in a container; only the prefix changes."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envbuild.engine.client import Engine
from envbuild.engine.export import unpack_pieces
from envbuild.engine.scripts import LinkScript
from envbuild.errors import EngineError
from envbuild.image.config import Layer
from envbuild.image.link_scripts import (
    TITLE,
    digest_below,
    find_link_scripts,
    make_link_layer,
    order_packages,
)
from envbuild.image.plain import add_plain_layer
from envbuild.image.site import Site
from envbuild.kit.canonical import digest_file
from envbuild.kit.places import Cache
from envbuild.layers.conda import read_conda
from envbuild.layers.order import plan_entries
from envbuild.layers.plan import Compression
from envbuild.layers.seal import parse_seal
from envbuild.layers.write import write_layer
from envbuild.lock.model import CondaPackage
from envbuild.oci.descriptor import OCI_LAYER_GZIP, OCI_LAYER_ZSTD, Descriptor
from envbuild.spec.platforms import PLATFORMS
from envbuild.spec.settings import Settings
from tests.rig.conda_package import PLACEHOLDER, Content, Recipe, write_package

PREFIX = "/opt/env"


class _Notes:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def update(self, task: str, doing: str, done: int = 0, total: int = 0) -> None:
        """Nothing."""

    def finish(self, task: str, outcome: str) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class Bench:
    """An image under construction: a base with bash, and a layer of conda packages."""

    folder: Path
    notes: _Notes = field(default_factory=_Notes)
    lines: list[str] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    shell: bool = True
    platform: str = {"x86_64": "linux-64", "aarch64": "linux-aarch64"}[os.uname().machine]

    @property
    def site(self) -> Site:
        cache = Cache(root=self.folder / "cache")
        return Site(cache=cache, settings=Settings(), progress=self.notes)

    def make_layer(self, recipes: Sequence[Recipe], compression: Compression = "gzip") -> Layer:
        groups = []
        for recipe in recipes:
            path = write_package(recipe, self.folder / "channel")
            package = CondaPackage(
                name=recipe.name, version=recipe.version, build=recipe.build,
                url=f"https://pkgs.example.com/{path.name}", size=path.stat().st_size,
                sha256=digest_file(path).removeprefix("sha256:"),
            )  # fmt: skip
            groups.append(
                read_conda(path, package, prefix=PREFIX, python_minor="3.11", link_scripts="run")
            )
        with self.site.store.writer() as blob:
            facts = write_layer(plan_entries(groups), blob.write, compression=compression)
        media_type = {"gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}[compression]
        return Layer(
            key="", title="conda", diff_id=facts.diff_id, plain_size=facts.plain_size,
            blob=Descriptor(media_type=media_type, digest=blob.digest, size=blob.size),
        )  # fmt: skip

    def make_image(self, layer: Layer) -> tuple[Descriptor, str]:
        """Return the manifest, and the key of the link scripts' layer on it."""
        store = self.site.store
        base = add_plain_layer(store, [make_base(shell=self.shell)])
        diff_ids = [base.diff_id, layer.diff_id]
        kind = "application/vnd.oci.image"
        config = {
            "architecture": PLATFORMS[self.platform].architecture,
            "os": "linux",
            "config": {"User": "1000:1000", "WorkingDir": "/workspace"},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
        digest, size = store.add(json.dumps(config).encode())
        described = {
            "mediaType": f"{kind}.config.v1+json", "digest": digest, "size": size
        }  # fmt: skip
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": described,
            "layers": [base.blob.to_json(), layer.blob.to_json()],
        }
        digest, size = store.add(json.dumps(manifest).encode())
        found = Descriptor(media_type=f"{kind}.manifest.v1+json", digest=digest, size=size)
        return found, digest_below(diff_ids, prefix=PREFIX)

    def run(self, recipes: Sequence[Recipe]) -> Layer | None:
        layer = self.make_layer(recipes)
        manifest, key = self.make_image(layer)
        self.keys.add(key)
        return make_link_layer(
            self.site, manifest, [layer], key=key, prefix=PREFIX, platform=self.platform,
            task="demo", on_line=self.lines.append,
        )  # fmt: skip

    def read(self, layer: Layer | None) -> dict[str, tarfile.TarInfo | bytes | str]:
        """Return files, links and folders of a layer."""
        assert layer is not None
        raw = b"".join(unpack_pieces(self.site.store.chunks(layer.blob.digest)))
        assert len(raw) == layer.plain_size
        found: dict[str, tarfile.TarInfo | bytes | str] = {}
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            for member in tar:
                assert (member.mtime, member.uid, member.gid) == (0, 0, 0)
                assert member.mode in {0o644, 0o755, 0o777}
                if member.isreg():
                    source = tar.extractfile(member)
                    assert source is not None
                    found[member.name] = source.read()
                else:
                    found[member.name] = member.linkname if member.issym() else member
        return found


def make_base(*, shell: bool) -> bytes:
    """Return a tar with bash and the few programs that the scripts use, from this machine."""
    programs = ["/bin/bash", "/bin/mkdir", "/bin/ln", "/bin/rm", "/bin/chmod", "/bin/cat"]
    told = subprocess.run(["ldd", *programs], check=True, capture_output=True, text=True).stdout
    libraries = sorted(set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", told, re.MULTILINE)))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in [*(programs if shell else []), *libraries]:
            data = Path(name).read_bytes()
            info = tarfile.TarInfo(name.lstrip("/"))
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def make_recipe(
    name: str, script: str | None, *, depends: Sequence[str] = (), files: Mapping[str, str] = {}
) -> Recipe:
    contents = [Content(path=path, data=text.encode()) for path, text in files.items()]
    if script is not None:
        text = f"#!{PLACEHOLDER}/bin/bash\nset -eu\n{script}\n".encode()
        path = f"bin/.{name}-post-link.sh"
        contents.append(Content(path=path, data=text, mode=0o755, prefix_mode="text"))
    return Recipe(
        name=name, version="1.2", build="h1_7", build_number=7, contents=contents, depends=depends
    )


@pytest.fixture
def bench(engine: Engine, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for key in made.keys:
        name = f"envbuild-link:{key.removeprefix('sha256:')[:20]}"
        assert engine.client.images.list(name) == []


SAYS = 'echo "$PKG_NAME $PKG_VERSION $PKG_BUILDNUM $PREFIX $ROOT_PREFIX $PWD" >> $PREFIX/order'


@pytest.mark.engine
def test_scripts_run_in_order_and_their_changes_are_a_layer(bench: Bench) -> None:
    recipes = [
        make_recipe("aaa", SAYS, depends=["zzz >=1", "missing"], files={"share/old": "1"}),
        make_recipe("mmm", None, depends=["aaa"]),
        make_recipe(
            "zzz",
            f"{SAYS}\nmkdir -p $PREFIX/share/new/deep\necho x > $PREFIX/share/new/deep/file\n"
            "ln -s deep/file $PREFIX/share/new/link\nln $PREFIX/order $PREFIX/share/new/twin\n"
            "rm $PREFIX/share/gone\nchmod 777 $PREFIX/share/new/deep/file\n"
            "echo read me >> $PREFIX/.messages.txt\necho temporary > /tmp/x\necho hello",
            files={"share/gone": "2"},
        ),
    ]
    layer = bench.run(recipes)
    found = bench.read(layer)
    where = "/opt/env /opt/env /opt/env/bin"
    assert found["opt/env/order"] == f"zzz 1.2 7 {where}\naaa 1.2 7 {where}\n".encode()
    assert found["opt/env/share/new/deep/file"] == b"x\n"
    assert found["opt/env/share/new/link"] == "deep/file"
    assert found["opt/env/share/new/twin"] == found["opt/env/order"]
    assert found["opt/env/share/.wh.gone"] == b""
    folders = {name for name, what in found.items() if isinstance(what, tarfile.TarInfo)}
    assert folders == {
        "opt", "opt/env", "opt/env/share", "opt/env/share/new", "opt/env/share/new/deep"
    }  # fmt: skip
    assert set(found) - folders == {
        "opt/env/order", "opt/env/share/new/deep/file", "opt/env/share/new/link",
        "opt/env/share/new/twin", "opt/env/share/.wh.gone",
    }  # fmt: skip
    assert bench.lines == ["link script of zzz 1.2", "hello", "link script of aaa 1.2"]
    assert bench.notes.notes == ["demo: link scripts say: read me"]
    assert layer is not None
    assert layer.title == TITLE
    end = bench.site.store.path(layer.blob.digest).read_bytes()[-200:]
    seal = parse_seal(end)
    assert seal is not None
    assert (seal.key, seal.diff_id, seal.plain_size) == (
        layer.key, layer.diff_id, layer.plain_size
    )  # fmt: skip


@pytest.mark.engine
def test_layer_is_made_once_and_the_same_elsewhere(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = [make_recipe("demo", "mkdir $PREFIX/a\necho 1 > $PREFIX/a/b")]
    layer = bench.run(recipes)
    assert Bench(tmp_path / "elsewhere").run(recipes) == layer
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    assert bench.run(recipes) == layer
    with pytest.raises(EngineError) as caught:
        bench.run([make_recipe("demo", "mkdir $PREFIX/other")])
    assert caught.value.code == "engine.unreachable"


def test_without_scripts_no_engine_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    assert Bench(tmp_path).run([make_recipe("demo", None, files={"a": "1"})]) is None


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_scripts_are_found_in_layers_of_either_kind(
    tmp_path: Path, compression: Compression
) -> None:
    bench = Bench(tmp_path)
    recipes = [make_recipe("b", "exit"), make_recipe("c", None), make_recipe("a", "exit")]
    layer = bench.make_layer(recipes, compression)
    found = find_link_scripts(bench.site, [layer], prefix=PREFIX, task="demo")
    assert found == tuple(LinkScript(name=n, version="1.2", build_number=7) for n in ("a", "b"))


@pytest.mark.engine
def test_failing_script_is_named_with_its_output(bench: Bench) -> None:
    recipes = [make_recipe("fine", "echo one"), make_recipe("wrong", "echo oh no >&2\nexit 4")]
    with pytest.raises(EngineError, match=r"`wrong 1\.2` failed with exit code 4") as caught:
        bench.run(recipes)
    assert caught.value.code == "engine.link-script"
    (log,) = (bench.folder / "cache" / "logs").glob("*.log")
    assert str(log) in caught.value.message
    assert "oh no" in log.read_text()
    assert not list((bench.folder / "cache" / "layers").glob("*"))


@pytest.mark.engine
def test_change_outside_of_the_environment_is_refused(bench: Bench) -> None:
    with pytest.raises(EngineError, match="`/etc/stray`") as caught:
        bench.run([make_recipe("stray", "mkdir -p /etc\necho 1 > /etc/stray")])
    assert caught.value.code == "engine.link-outside"


@pytest.mark.engine
def test_scripts_have_no_network(bench: Bench) -> None:
    check = "while read -r line; do echo $line; done < /proc/net/dev > $PREFIX/devices"
    found = bench.read(bench.run([make_recipe("net", check)]))
    devices = found["opt/env/devices"]
    assert isinstance(devices, bytes)
    names = {line.partition(":")[0].strip() for line in devices.decode().splitlines()[2:]}
    assert not {name for name in names if name.startswith(("eth", "en"))}
    assert "lo" in names


@pytest.mark.engine
def test_image_without_shell_is_refused(bench: Bench) -> None:
    bench.shell = False
    with pytest.raises(EngineError) as caught:
        bench.run([make_recipe("demo", "exit")])
    assert caught.value.code == "engine.no-shell"


@pytest.mark.engine
def test_foreign_image_is_refused_with_what_to_do(bench: Bench) -> None:
    bench.platform = {"linux-64": "linux-aarch64", "linux-aarch64": "linux-64"}[bench.platform]
    with pytest.raises(EngineError, match="`demo`") as caught:
        bench.run([make_recipe("demo", "exit")])
    assert caught.value.code == "engine.link-foreign"
    assert "registry" in str(caught.value.hint)


NAMES = st.sampled_from("abcdefgh")


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=4), max_size=8))
def test_order_has_all_packages_after_what_they_need(graph: dict[str, list[str]]) -> None:
    records = {name: {"depends": [f"{d} >=1" for d in needs]} for name, needs in graph.items()}
    order = order_packages(records)
    assert sorted(order) == sorted(graph)
    assert order == order_packages(dict(reversed(list(records.items()))))
    reach = {name: _reach(graph, name) for name in graph}
    for name, needs in graph.items():
        for need in needs:
            if need in graph and name not in reach[need]:  # not in a circle with it
                assert order.index(need) < order.index(name)


def _reach(graph: dict[str, list[str]], name: str) -> set[str]:
    todo, found = [name], {name}
    while todo:
        for need in graph.get(todo.pop(), ()):
            if need not in found:
                found.add(need)
                todo.append(need)
    return found
