"""``make demo``: the whole loop, once, for real."""

from __future__ import annotations

import argparse
import sys

from viridian_demo.callers import Caller
from viridian_demo.commands import CommandFailed
from viridian_demo.events import Producer, fetch_movielens
from viridian_demo.install import NAMESPACE, SYSTEM, clean, cluster, install, prepare_namespace
from viridian_demo.live import Live
from viridian_demo.report import show
from viridian_demo.screen import Screen
from viridian_demo.story import MOVIELENS, SYNTHETIC, Story


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(prog="viridian_demo", description=__doc__)
    parser.add_argument("--data", choices=["synthetic", "movielens"], default="synthetic")
    parser.add_argument("--rate", type=int, default=120, help="requests per second")
    return parser.parse_args(arguments)


def main() -> int:
    """Tell the story; 0 only if every step ended as it should."""
    options, screen = parse(), Screen()
    try:
        tools, own_images = cluster(screen)
        install(tools, screen, own_images=own_images)
        clean(tools, screen)
        prepare_namespace(tools)
        data = MOVIELENS if options.data == "movielens" else SYNTHETIC
        if data is MOVIELENS:
            fetch_movielens(screen)
        producer = Producer(tools, screen, data.name)
        caller = Caller(tools, rate=options.rate, inputs=data.inputs)
        story = Story(tools, screen, data, producer, caller)
        chapters = story.tell()
        story.measure_rollback(caller.stop())
        chapters.append(Live(tools, screen, options.rate, SYNTHETIC.inputs).tell())
    except CommandFailed as problem:
        screen.say(str(problem), style="red")
        return 1
    show(screen, chapters)
    _farewell(screen, tools.kubeconfig, tools.kubectl_path, local=own_images)
    return 1 if any(chapter.problems for chapter in chapters) else 0


def _farewell(screen: Screen, kubeconfig: str, kubectl: str, *, local: bool) -> None:
    lines = [
        "",
        "Look at it yourself:",
        f"  export KUBECONFIG={kubeconfig}",
        f"  {kubectl} get mu -n {NAMESPACE}",
        f"  {kubectl} describe mu ctr -n {NAMESPACE}",
        f"  {kubectl} get mu live -n {NAMESPACE} -o yaml                        # status.online: who answers with what",
        f"  {kubectl} get deployments,services,pods -n {NAMESPACE} --show-labels",
        f"  {kubectl} port-forward -n {SYSTEM} service/viridian-mlflow 5000   # then http://127.0.0.1:5000",
        "Clean up:",
        "  make cluster-down"
        if local
        else f"  {kubectl} delete namespace {NAMESPACE} && helm uninstall viridian -n {SYSTEM}",
    ]
    for line in lines:
        screen.console.print(line)


if __name__ == "__main__":
    sys.exit(main())
