"""The Go programs of the cluster, built from the pinned modules beside this package and cached by content."""

import contextlib
import hashlib
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from viridian_local.commands import follow
from viridian_local.paths import CHECKOUT, cache_dir
from viridian_local.progress import step
from viridian_local.scratch import only_maker, scratch
from viridian_local.toolchain import go_program

KUBERNETES_VERSION = "1.36.3"
_VERSION = "k8s.io/component-base/version"
_LINKING = (
    "-s -w"
    f" -X {_VERSION}.gitVersion=v{KUBERNETES_VERSION}"
    f" -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=36"
    f" -X {_VERSION}.gitCommit=0 -X {_VERSION}.gitTreeState=clean"
)


_ENVIRONMENT = {
    "CGO_ENABLED": "0",
    "GOFLAGS": "-mod=readonly -buildvcs=false",
    "GOWORK": "off",
    # Nothing but the Go that was chosen, or a build would depend on what can be fetched.
    "GOTOOLCHAIN": "local",
}


@dataclass(frozen=True)
class Module:
    """A folder with ``go.mod`` and ``go.sum``, and the programs it pins: name of the binary → package."""

    name: str
    programs: dict[str, str]
    linking: str = "-s -w"
    minutes: int = 1
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", CHECKOUT / "local" / self.name)

    def key(self) -> str:
        """Hash of all that decides the binaries' content."""
        digest = hashlib.sha256()
        for part in ("go.mod", "go.sum"):
            digest.update((self.folder / part).read_bytes() + b"\0")
        digest.update(f"{self.linking}\0{sorted(self.programs.items())}".encode())
        return digest.hexdigest()[:16]

    def bin_dir(self) -> Path:
        """Where the binaries are, or will be once built."""
        return cache_dir() / "bin" / self.key()


_COMMANDS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
KUBERNETES = Module(
    "kubernetes",
    {"etcd": "go.etcd.io/etcd/server/v3", **{name: f"k8s.io/kubernetes/cmd/{name}" for name in _COMMANDS}},
    linking=_LINKING,
    minutes=5,
)
COREDNS = Module("coredns", {"coredns": "github.com/coredns/coredns"})
HELM = Module("helm", {"helm": "helm.sh/helm/v4/cmd/helm"})
# Without this Helm 3 renders charts for Kubernetes 1.20, as its own release builds do not.
_CAPABILITIES = "helm.sh/helm/v3/pkg/chartutil.k8sVersion"
HELM3 = Module(
    "helm3",
    {"helm": "helm.sh/helm/v3/cmd/helm"},
    linking=f"-s -w -X {_CAPABILITIES}Major=1 -X {_CAPABILITIES}Minor=36",
)
# An S3 service over a folder, for the tests of the store.
S3 = Module("s3", {"versitygw": "github.com/versity/versitygw/cmd/versitygw"}, minutes=2)
MODULES = {module.name: module for module in (KUBERNETES, COREDNS, HELM, HELM3, S3)}


def ensure(module: Module) -> Path:
    """Build the module's programs unless the cache holds them; return the folder that holds the binaries."""
    target = module.bin_dir()
    if not _complete(module, target):
        with only_maker(target, module.name):
            if not _complete(module, target):
                _build(module, target)
    return target


def _complete(module: Module, target: Path) -> bool:
    return all((target / name).exists() for name in module.programs)


def _build(module: Module, target: Path) -> None:
    go = go_program(_needed_go(module))
    what = f"Building {module.name} from Go modules (once per version, about {module.minutes} min)"
    with step(what) as running, scratch(target.parent) as folder:
        command = [go, "build", "-v", "-trimpath", "-ldflags", module.linking, "-o", f"{folder}/"]
        follow(
            [*command, *module.programs.values()],
            running,
            env=_ENVIRONMENT,
            cwd=module.folder,
            describe=lambda count, line: f"{count} packages so far, now {line[:60]}",
        )
        _name(module, folder)
        _publish(folder, target)


def _needed_go(module: Module) -> str:
    lines = (module.folder / "go.mod").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("go "))


def _name(module: Module, folder: Path) -> None:
    """Give each binary our name: the linker calls etcd ``server``, after the folder of its package."""
    for name, package in module.programs.items():
        parts = [part for part in package.split("/") if not _is_version(part)]
        built = folder / parts[-1]
        if built.name != name:
            built.rename(folder / name)


def _is_version(part: str) -> bool:
    return part[:1] == "v" and part[1:].isdigit()


def _publish(folder: Path, target: Path) -> None:
    """Move the finished folder into place, where what a killed command left may lie."""
    shutil.rmtree(target, ignore_errors=True)
    os.rename(folder, target)


def links() -> Path:
    """A folder of links to every program that is built; kubectl, the control plane and Helm are built if need be."""
    for module in (KUBERNETES, HELM):
        ensure(module)
    found = {name: KUBERNETES.bin_dir() / name for name in KUBERNETES.programs}
    found |= {name: module.bin_dir() / "helm" for name, module in (("helm", HELM), ("helm3", HELM3))}
    found |= {name: S3.bin_dir() / name for name in S3.programs}
    keys = "".join(module.key() for module in (KUBERNETES, HELM, HELM3, S3))
    folder = cache_dir() / "bin" / f"all-{hashlib.sha256(keys.encode()).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, program in found.items():
        if program.exists() and not (folder / name).is_symlink():
            with contextlib.suppress(FileExistsError):
                (folder / name).symlink_to(program)
    return folder
