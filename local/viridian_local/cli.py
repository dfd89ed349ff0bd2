"""A real Kubernetes on this machine, for the demo and for tests."""

import argparse
import sys
from collections.abc import Callable

from viridian_local import addresses as at
from viridian_local import cluster, images, kubectl, locks, packages, preflight, record, session, status, tools, venv
from viridian_local.catalogue import ALL, PROJECT
from viridian_local.errors import Problem
from viridian_local.paths import Paths
from viridian_local.progress import write


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a problem is told on standard error and ends with status 1."""
    chosen = _parser().parse_args(arguments)
    command: Callable[[Paths, argparse.Namespace], int] = chosen.run
    try:
        return command(Paths.from_environment(), chosen)
    except Problem as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        write("Interrupted. The same command again, or `down`, cleans up.")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m viridian_local", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, text: str, run: Callable[[Paths, argparse.Namespace], int]) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    command("up", "start the cluster, or do nothing if it runs", _up)
    down = command("down", "stop the cluster and remove what it made, except images", _down)
    down.add_argument("--purge", action="store_true", help="remove the imported images as well")
    command("status", "show components, node and pods; status 1 if the cluster does not work", _status)
    build = command("images", "build the project's images and give them to the cluster", _images)
    build.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of: {', '.join(ALL)}")
    command("kubeconfig", "print the path of the administrator's kubeconfig", _kubeconfig)
    gpu = command("gpu", "let the node claim a number of GPUs, for tests of scheduling", _gpu)
    gpu.add_argument("number", type=int, metavar="N")
    tool = command("tool", "build a Go program if needed and print its path", _tool)
    tool.add_argument("name", choices=sorted(_tools()))
    on = command("session", "run a command on the cluster; stop the cluster afterwards if it did not run", _session)
    on.add_argument("--keep", action="store_true", help="leave the cluster running")
    on.add_argument("--bare", action="store_true", help="the command starts the cluster by itself")
    on.add_argument("command", nargs="+", metavar="PROGRAM")
    command("bindir", "print a folder that has kubectl, helm, the API server and etcd; build them if needed", _bindir)
    lock = command("lock", "pin every dependency again, with hashes, from pyproject.toml", _lock)
    lock.add_argument("--upgrade", action="store_true", help="take the newest versions that pyproject.toml allows")
    command("venv", "make .venv with every pinned dependency, or bring it up to date", _venv)
    command("test-packages", "install the Debian packages that tests without a cluster need", _test_packages)
    return parser


def _up(paths: Paths, _: argparse.Namespace) -> int:
    cluster.up(paths)
    return 0


def _down(paths: Paths, chosen: argparse.Namespace) -> int:
    cluster.down(paths, purge=chosen.purge)
    return 0


def _status(paths: Paths, _: argparse.Namespace) -> int:
    return 0 if status.report(paths) else 1


def _images(paths: Paths, chosen: argparse.Namespace) -> int:
    if unknown := set(chosen.names) - set(ALL):
        raise Problem(f"There is no image {', '.join(sorted(unknown))}.", f"Choose from: {', '.join(ALL)}.")
    preflight.require_root()
    wanted = [ALL[name] for name in chosen.names] or list(PROJECT)
    with record.alone(paths):
        if cluster.is_ready(paths):
            images.build_and_load(paths, wanted)
        else:
            images.build(wanted)
            write("No cluster is running: the images are built and wait in the cache for the next `images`.")
    for image in wanted:
        print(image.references()[0])
    return 0


def _kubeconfig(paths: Paths, _: argparse.Namespace) -> int:
    if not paths.kubeconfig.exists():
        raise Problem("No cluster is running, so there is no kubeconfig.", "Start one with `up`.")
    print(paths.kubeconfig)
    return 0


def _gpu(paths: Paths, chosen: argparse.Namespace) -> int:
    kubectl.advertise_gpus(paths, at.NODE, chosen.number)
    return 0


def _tools() -> dict[str, tuple[tools.Module, str]]:
    found = {name: (tools.KUBERNETES, name) for name in tools.KUBERNETES.programs}
    return {
        **found,
        "coredns": (tools.COREDNS, "coredns"),
        "helm": (tools.HELM, "helm"),
        "helm3": (tools.HELM3, "helm"),
        "versitygw": (tools.S3, "versitygw"),
    }


def _tool(_: Paths, chosen: argparse.Namespace) -> int:
    module, program = _tools()[chosen.name]
    print(tools.ensure(module) / program)
    return 0


def _session(paths: Paths, chosen: argparse.Namespace) -> int:
    return session.run(paths, chosen.command, keep=chosen.keep, bare=chosen.bare)


def _bindir(_: Paths, __: argparse.Namespace) -> int:
    print(tools.links())
    return 0


def _lock(_: Paths, chosen: argparse.Namespace) -> int:
    locks.compile_all(upgrade=chosen.upgrade)
    return 0


def _venv(_: Paths, __: argparse.Namespace) -> int:
    print(venv.ensure())
    return 0


def _test_packages(_: Paths, __: argparse.Namespace) -> int:
    packages.ensure_packages(packages.TESTS)
    return 0


if __name__ == "__main__":
    sys.exit(main())
