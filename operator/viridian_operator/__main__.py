"""Command line of the operator: ``run`` (default), ``crd``, ``version``."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from viridian_operator import __version__


def _parser() -> argparse.ArgumentParser:
    from viridian_operator.runtime.settings import add_flags

    parser = argparse.ArgumentParser(prog="viridian-operator", description="Keeps serving models fresh on Kubernetes.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    add_flags(commands.add_parser("run", help="run the operator (default)"))
    commands.add_parser("crd", help="print the CustomResourceDefinition")
    commands.add_parser("version", help="print the version")
    return parser


def _run(flags: argparse.Namespace) -> int:
    from viridian_operator.runtime.main import serve
    from viridian_operator.runtime.settings import SettingsError, read_settings

    try:
        settings = read_settings(vars(flags), os.environ)
    except SettingsError as error:
        print(f"viridian-operator: {error}", file=sys.stderr)
        return 64
    return asyncio.run(serve(settings))


def _print_crd() -> int:
    from viridian_operator.api.crd import render

    sys.stdout.write(render())
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or (given[0].startswith("-") and given[0] not in ("-h", "--help")):
        given.insert(0, "run")
    flags = _parser().parse_args(given)
    if flags.command == "crd":
        return _print_crd()
    if flags.command == "version":
        print(__version__)
        return 0
    return _run(flags)


if __name__ == "__main__":
    sys.exit(main())
