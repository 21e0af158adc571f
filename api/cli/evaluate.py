"""`sightline evaluate`: recall@1/5/10 in both directions, before and after reranking."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from api.cli.calibrate import calibration_line
from api.cli.shared import Bar, as_json, matcher_option, open_sightline, pooled_option, print_json

if TYPE_CHECKING:
    from api.results import Evaluated


@click.command("evaluate")
@click.argument("target")
@click.option("--candidates", type=int, help="How many ITC candidates the ITM head reads.")
@click.option("--no-rerank", "rerank", flag_value=False, default=True, help="Measure the ITC stage alone.")
@matcher_option
@pooled_option
@click.option("--queries", type=click.IntRange(min=1), help="A sample of so many queries per direction.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the sample.")
@click.option("--synthetic", is_flag=True, help="Let pairs that a model wrote count too.")
@as_json
def command(
    target: str,
    candidates: int | None,
    rerank: bool,
    matcher: str | None,
    pooled: int | None,
    queries: int | None,
    seed: int,
    synthetic: bool,
    json_wanted: bool,
) -> None:
    """Measure recall over the pairs of TARGET, a gallery or a folder with captions.jsonl."""
    from api.schemas import EvaluatedOut

    sightline = open_sightline()
    with Bar() as bar:
        evaluated = sightline.evaluate(
            target,
            candidates=candidates,
            rerank=rerank,
            queries=queries,
            seed=seed,
            synthetic=synthetic,
            matcher=matcher,
            pooled=pooled,
            progress=bar,
        )
    if json_wanted:
        print_json(EvaluatedOut.of(evaluated).model_dump(mode="json"))
        return
    click.echo(evaluation_table(evaluated))


def evaluation_table(evaluated: Evaluated) -> str:
    """Show a line per direction and stage."""
    lines = [
        f"{evaluated.gallery}, model {evaluated.model}, {evaluated.candidates} candidates {_reading(evaluated)}",
        f"{'direction':12} {'queries':>7} {'stage':18} {'R@1':>7} {'R@5':>7} {'R@10':>7}",
    ]
    for one in evaluated.directions:
        for stage, recalls in (("before reranking", one.before), ("after reranking", one.after)):
            if recalls is not None:
                shown = " ".join(f"{recalls[f'recall@{k}']:7.1%}" for k in (1, 5, 10))
                lines.append(f"{one.name:12} {one.queries or 0:7d} {stage:18} {shown}")
    lines += [calibration_line(one.calibration) for one in evaluated.directions if one.calibration is not None]
    return "\n".join(lines)


def _reading(evaluated: Evaluated) -> str:
    """Say what became of the candidates, and how they were found where that is unusual."""
    said = "not reranked" if evaluated.matcher is None else "reranked"
    if evaluated.matcher not in (None, evaluated.model):
        said += f" by {evaluated.matcher}"
    return said if evaluated.pooled is None else f"{said}, first pass over {evaluated.pooled}"
