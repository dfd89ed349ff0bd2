"""Commands: ``run`` (the container task), and those for one machine."""

from __future__ import annotations

import os

import typer

from viridian_trainer import logs
from viridian_trainer.cli.generate import generate
from viridian_trainer.cli.join import join
from viridian_trainer.cli.lineage import inspect, replay
from viridian_trainer.cli.local import evaluate, train
from viridian_trainer.cli.loop import loop
from viridian_trainer.cli.online import online
from viridian_trainer.cli.verdict import verdict
from viridian_trainer.start import start

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    help="Train and judge models of Viridian, in a Job or on this machine.",
)
app.command()(generate)
app.command()(join)
app.command()(train)
app.command()(evaluate)
app.command()(verdict)
app.command()(loop)
app.command()(online)
app.command()(replay)
app.command()(inspect)


@app.command()
def run() -> None:
    """Run the task that the VIRIDIAN_ environment variables describe, as in a Job."""
    logs.configure()
    raise typer.Exit(start(os.environ))
