"""`sightline train`: fine-tune a model on a gallery."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from api.cli.shared import Bar, as_json, notice, open_sightline, print_json

TASKS = ("match", "caption", "vqa")
PRECISIONS = ("float32", "bf16", "fp16")
DEVICES = ("auto", "cpu", "cuda")
POSITIVE = click.IntRange(min=1)


@click.command("train")
@click.argument("target", metavar="GALLERY")
@click.option("--from", "start", metavar="MODEL", required=True, help="A BLIP of `sightline models`, or a folder.")
@click.option("--out", metavar="FOLDER", required=True, help="Where the model, the log and the checkpoints go.")
@click.option("--task", type=click.Choice(TASKS), default="match", show_default=True, help="ITC and ITM, or one head.")
@click.option("--questions", metavar="FILE", help="For vqa: JSONL with file or item, question and answers.")
@click.option("--synthetic", is_flag=True, help="Train on pairs that a model wrote too; evaluate given ones alone.")
@click.option("--epochs", type=POSITIVE, help="6, 5 or 10 by task, as BLIP.")
@click.option("--batch", type=POSITIVE, help="Examples of a pass and process; 32, 32 or 16 by task.")
@click.option("--accumulate", type=POSITIVE, help="Passes of an optimiser step; 1 unless set.")
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="1e-5, 1e-5 or 2e-5 by task.")
@click.option("--warmup", type=click.IntRange(min=0), help="Steps of rising rate; a twentieth of all unless set.")
@click.option("--queue", type=click.IntRange(min=0), help="ITC: embeddings kept by momentum encoders (BLIP: 57600).")
@click.option("--momentum", type=click.FloatRange(0, 1), help="Of the momentum encoders; 0.995 unless set.")
@click.option("--alpha", type=click.FloatRange(0, 1), help="Weight of their soft targets; 0.4 unless set.")
@click.option("--augment/--no-augment", default=None, help="Crops, mirroring, RandAugment; on unless set.")
@click.option("--dropout", type=click.FloatRange(0, 1, max_open=True), help="Of the text side; 0.1 unless set.")
@click.option("--precision", type=click.Choice(PRECISIONS), help="float32 unless set; the others mix.")
@click.option("--checkpointing", is_flag=True, default=None, help="Compute activations twice to save memory.")
@click.option("--new-words", is_flag=True, default=None, help="Add words that the model has no pieces for.")
@click.option("--held-out", type=float, default=0.1, show_default=True, help="Share of pictures to evaluate on.")
@click.option("--patience", type=POSITIVE, help="Stop after so many epochs without a better measure.")
@click.option("--seed", type=int, help="Of order, augmentation and dropout; 1 unless set.")
@click.option("--device", type=click.Choice(DEVICES), help="Instead of SIGHTLINE_DEVICE.")
@as_json
def command(
    target: str,
    start: str,
    out: str,
    task: str,
    questions: str | None,
    held_out: float,
    synthetic: bool,
    device: str | None,
    json_wanted: bool,
    **given: Any,
) -> None:
    """Fine-tune MODEL on the pairs of GALLERY, a gallery or a folder.

    Every epoch is evaluated on held-out pictures; FOLDER/model is the best one, for --model of the other commands. The
    same command goes on after a kill. Several processes: torchrun --no-python --nproc-per-node 2 sightline train ...
    """
    from retrieval.training.finetuning.recipe import recipe_for

    check_momentum(given)
    sightline = open_sightline()
    try:
        with Bar() as bar:
            report = sightline.train(
                target,
                start=start,
                out=out,
                recipe=recipe_for(task, given),  # type: ignore[arg-type]
                questions=questions,
                held_out=held_out,
                synthetic=synthetic,
                device=device,
                progress=bar,
            )
    except KeyboardInterrupt:
        notice("Stopped. The same command goes on from here.")
        raise click.exceptions.Exit(130) from None
    if report is None:
        return
    if json_wanted:
        print_json(report)
        return
    print_report(report)


def check_momentum(given: Mapping[str, Any]) -> None:
    """Refuse what only momentum encoders read where there are none."""
    from api.errors import UsageError

    for name in ("momentum", "alpha"):
        if given[name] is not None and not given["queue"]:
            belongs = f"--{name} belongs to the momentum encoders, which --queue adds to --task match"
            raise UsageError(name, f"{belongs}: say --queue 57600 too, or leave --{name} out")


def print_report(report: dict[str, Any]) -> None:
    """Show what was trained and what it gave, a line per measure."""
    examples = report["examples"]
    click.echo(f"{report['task']}: {examples['train']} examples, {report['epochs']} epochs, {report['steps']} steps")
    for name, after in report["after"].items():
        before = report["before"][name]
        click.echo(f"{name:28} {before:8.4f} -> {after:8.4f}")
    if report["best_epoch"] == 0 and report["before"]:
        notice("No epoch was better than the start: the model is the start.")
    click.echo(f"Model of epoch {report['best_epoch']}: {report['model']}")
