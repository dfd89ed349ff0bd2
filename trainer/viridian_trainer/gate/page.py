"""One page about a verdict for people: the sentence, the plots, the numbers. A single file without scripts."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from viridian_trainer.gate.statistics import Floats
from viridian_trainer.gate.verdict import Compared

if TYPE_CHECKING:
    from viridian_trainer.gate.evaluate import Judged

_COLOURS = {"candidate": "#1b7f5c", "champion": "#35588c", "reference": "#8a6d3b", "baseline": "#999999"}
_LABEL_WIDTH = 22
_VERDICTS = {"Pass": "#1b7f5c", "Reject": "#b3261e", "Inconclusive": "#9a6700"}
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .8rem;border-bottom:1px solid #ddd;"
    "text-align:right;white-space:nowrap}td:first-child,th:first-child{text-align:left;white-space:normal}svg{max-width:100%;height:auto}"
    ".verdict{color:#fff;padding:.2rem .7rem;border-radius:.3rem}"
)


def page(judged: Judged, model: str, versions: Mapping[str, str], message: str) -> str:
    """The report as HTML with inline SVG; ``versions`` names that of each model that has one."""
    outcome = str(judged.verdict.outcome)
    title = f"{model}, version {versions['candidate']}"
    badge = f'<span class="verdict" style="background:{_VERDICTS[outcome]}">{outcome}</span>'
    parts = [
        f"<h1>{escape(title)}: {badge} {escape(judged.verdict.reason)}</h1>",
        f"<p>{escape(message)}</p>",
        f"<p>{len(judged.holdout)} events of {judged.deciding.difference.users} users{_period(judged)}, "
        f"{judged.holdout.duplicates} duplicates and {judged.holdout.rejected} unreadable entries left out.</p>",
        _how(judged),
    ]
    if judged.main.any():
        parts += [_plots(judged), "<h2>Metrics</h2>", _metrics(judged.metrics, versions)]
    parts += ["<h2>Comparisons</h2>", _comparisons(_compared(judged))]
    tab = f"<title>{escape(title)}: {outcome}</title>"
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8">{tab}<style>{_STYLE}</style></head>'
    return f"{head}<body>{''.join(parts)}</body></html>"


def _period(judged: Judged) -> str:
    """Of when the events are."""
    times = judged.holdout.times
    if not len(times):
        return ""
    first, last = (f"{datetime.fromtimestamp(float(at), UTC):%Y-%m-%d %H:%M}" for at in (times.min(), times.max()))
    return f" from {first} to {last} UTC"


def _how(judged: Judged) -> str:
    """Which events judge what, where there are two kinds of them."""
    if judged.tail is None:
        return ""
    return (
        f"<p>{int(judged.main.sum())} of them were predicted right before the candidate trained on them; metrics, "
        f"slices and comparisons rest on these. The newest {int(judged.tail.sum())} are untrained and judge the "
        "weights that would serve (tail).</p>"
    )


def calibration_curve(logits: Floats, labels: Floats, bins: int = 10) -> tuple[Floats, Floats]:
    """Mean prediction and mean label in ``bins`` groups of equal size, ordered by prediction."""
    probabilities = 1 / (1 + np.exp(-np.clip(logits, -700, 700)))
    groups = np.array_split(np.argsort(probabilities, kind="stable"), bins)
    used = [group for group in groups if len(group)]
    predicted = np.array([probabilities[group].mean() for group in used])
    return predicted, np.array([labels[group].mean() for group in used])


def _compared(judged: Judged) -> dict[str, Compared]:
    evidence = judged.evidence
    named = {
        "champion": evidence.against_champion,
        "reference": evidence.against_reference,
        "baseline": evidence.against_baseline,
    }
    found = {f"against {name}": part for name, part in named.items() if part is not None}
    found |= {"final weights on the tail": evidence.tail} if evidence.tail else {}
    return found | {f"slice {name}": part for name, part in evidence.slices.items()}


def _metrics(metrics: Mapping[str, Mapping[str, float]], versions: Mapping[str, str]) -> str:
    names = list(metrics)
    head = [f"{name} {versions[name]}" if name in versions else name for name in names]
    rows = [[name, *(_number(metrics[model].get(name, math.nan)) for model in names)] for name in metrics["candidate"]]
    return _table(["", *head], rows)


def _comparisons(compared: Mapping[str, Compared]) -> str:
    rows = []
    for name, part in compared.items():
        d = part.difference
        numbers = (d.mean, d.low, d.high, part.margin, d.minimum_detectable)
        rows.append([name, *map(_number, numbers), str(d.events), str(d.users)])
    return _table(["", "better by", "low", "high", "margin", "detectable", "events", "users"], rows)


def _table(head: list[str], rows: list[list[str]]) -> str:
    def line(cells: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _number(value: float) -> str:
    return f"{value:.4f}" if math.isfinite(value) else "–"


def _plots(judged: Judged) -> str:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    with mpl.rc_context({"svg.hashsalt": "viridian", "font.size": 9}):
        height = max(3.6, 0.5 * len(_compared(judged)))
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, height), layout="constrained")
        _draw_calibration(left, judged)
        _draw_differences(right, judged)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]


def _draw_calibration(axes: Any, judged: Judged) -> None:
    for name, logits in judged.logits.items():
        shown = logits[judged.main]
        if np.isfinite(shown).all():
            labels = judged.holdout.labels[judged.main]
            axes.plot(*calibration_curve(shown, labels), "o-", ms=3, label=name, color=_COLOURS[name])
    limit = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([0, limit], [0, limit], ":", color="#777777", lw=1)
    axes.set(title="Calibration", xlabel="mean prediction", ylabel="mean label")
    axes.legend(frameon=False)


def _draw_differences(axes: Any, judged: Judged) -> None:
    finite = {k: v for k, v in _compared(judged).items() if math.isfinite(v.difference.low)}
    for position, (name, part) in enumerate(reversed(finite.items())):
        d = part.difference
        colour = _COLOURS.get(name.removeprefix("against "), "#555555")
        axes.plot([d.low, d.high], [position, position], color=colour, lw=2)
        axes.plot([d.mean], [position], "o", color=colour)
        axes.plot([-part.margin, -part.margin], [position - 0.3, position + 0.3], "--", color="#b3261e", lw=1)
    axes.set_yticks(range(len(finite)), [fill(name, _LABEL_WIDTH) for name in reversed(finite)])
    axes.axvline(0, color="#777777", lw=1)
    axes.set(title="Candidate better by", xlabel=f"{judged.gate.metric}; dashed: the margin")
