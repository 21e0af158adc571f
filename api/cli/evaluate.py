"""`sightline evaluate`: a gallery with pairs is a benchmark; runs, their reports, and what lies between two of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from api.cli.evaluation_tables import evaluation_table, list_table
from api.cli.shared import Bar, as_json, matcher_option, notice, open_sightline, pooled_option, print_json

if TYPE_CHECKING:
    from api.library import Sightline

SCORES = ("itc", "itm", "itm+itc", "probability")
TASKS = ("retrieval", "caption", "vqa", "negatives")


@click.command("evaluate")
@click.argument("target", required=False)
@click.option("--protocol", metavar="NAME", help="Whose rules are followed; by default those of the gallery's model.")
@click.option("--candidates", type=int, help="How many ITC candidates the ITM head reads.")
@click.option("--score", type=click.Choice(SCORES), help="What orders the candidates; all four are compared anyway.")
@click.option("--no-rerank", "rerank", flag_value=False, default=True, help="Measure the ITC stage alone.")
@matcher_option
@pooled_option
@click.option("--split", metavar="NAME", help="Only pictures of this split, with their texts.")
@click.option("--subset", type=click.IntRange(min=1), metavar="N", help="Only N pictures, with their texts.")
@click.option("--folds", type=click.IntRange(min=1), default=1, metavar="N", help="N galleries of one size, averaged.")
@click.option("--queries", type=click.IntRange(min=1), help="A sample of so many queries per direction.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of subset, sample and intervals.")
@click.option("--synthetic", is_flag=True, help="Let pairs that a model wrote count too.")
@click.option("--resume", is_flag=True, help="Go on with a run of the same settings that did not come to its end.")
@click.option("--task", type=click.Choice(TASKS), default="retrieval", show_default=True, help="What is measured.")
@click.option("--questions", metavar="FILE", help="For --task vqa: questions of VQAv2, or lines of JSON.")
@click.option("--annotations", metavar="FILE", help="For --task vqa: the annotations of VQAv2.")
@click.option("--negatives", metavar="PATH", help="For --task negatives: a file or folder as SugarCrepe has them.")
@click.option("--images", metavar="FOLDER", help="For --task negatives: where its pictures are, beside the gallery's.")
@click.option("--captioner", metavar="MODEL", help="For --task caption: another captioner than the gallery's.")
@click.option("--answerer", metavar="MODEL", help="For --task vqa: another answerer than the gallery's.")
@click.option("--report", metavar="FILE", help="Write one self-contained HTML page.")
@click.option("--trec", metavar="FOLDER", help="Write TREC run and qrels files.")
@click.option("--list", "lists", is_flag=True, help="List the evaluations of TARGET.")
@click.option("--show", type=int, metavar="ID", help="Show an evaluation again, with --report, --trec or --json.")
@click.option("--compare", type=int, nargs=2, metavar="A B", help="Hold two evaluations against each other.")
@click.option("--forget", type=int, metavar="ID", help="Forget an evaluation and its pages.")
@as_json
def command(target: str | None, **options: Any) -> None:
    """Measure recall over the pairs of TARGET: a gallery, a folder with captions.jsonl, or a dataset."""
    check_usage(target, options)
    sightline = open_sightline()
    if options["report"] is not None:
        sightline.check_report_path(options["report"])
    if options["compare"] is not None:
        compare(sightline, *options["compare"], report=options["report"], json_wanted=options["json_wanted"])
    elif options["forget"] is not None:
        sightline.forget_evaluation(options["forget"])
        click.echo(f"evaluation {options['forget']} is forgotten")
    elif options["lists"]:
        assert target is not None
        show_list(sightline, target, json_wanted=options["json_wanted"])
    elif options["show"] is not None:
        finish(sightline, options["show"], options)
    elif options["task"] != "retrieval":
        assert target is not None
        run_task(sightline, target, options)
    else:
        assert target is not None
        finish(sightline, run(sightline, target, options), options)


def check_usage(target: str | None, options: dict[str, Any]) -> None:
    """Raise UsageError for options that do not go together."""
    from api.errors import UsageError

    alone = [name for name in ("compare", "forget", "show") if options[name] is not None]
    if len(alone) > 1:
        raise UsageError(alone[1], f"--{alone[0]} and --{alone[1]} ask for two things; give one of them")
    if options["lists"] and alone:
        raise UsageError("list", f"--{alone[0]} and --list ask for two things; give one of them")
    if target is None and not alone:
        raise UsageError("target", "name a gallery or a folder, or --show, --compare or --forget an evaluation")
    if target is not None and alone:
        raise UsageError("target", f"--{alone[0]} names an evaluation, which knows its gallery; leave out {target}")
    needs = {"questions": "vqa", "annotations": "vqa", "answerer": "vqa", "captioner": "caption"}
    needs |= {"negatives": "negatives", "images": "negatives"}
    for name, task in needs.items():
        if options[name] is not None and options["task"] != task:
            raise UsageError(name, f"--{name} is for --task {task}")
    for task, name in (("vqa", "questions"), ("negatives", "negatives")):
        if options["task"] == task and options[name] is None:
            raise UsageError(name, f"--task {task} needs --{name}")
    if options["task"] != "retrieval":
        of_retrieval = ("report", "trec", "protocol", "candidates", "score", "split", "queries", "pooled")
        for name in of_retrieval:
            if options[name] is not None:
                raise UsageError(name, f"--{name} is for --task retrieval")
        if options["matcher"] is not None and options["task"] != "negatives":
            raise UsageError("matcher", f"--task {options['task']} reads no pairs; leave out --matcher")
    mode = next((name for name in ("compare", "forget", "show", "lists") if options[name] not in (None, False)), None)
    check_given(mode or options["task"])


GOES_WITH = {
    "compare": {"report"},
    "forget": set(),
    "show": {"report", "trec"},
    "lists": set(),
    "caption": {"captioner", "subset", "seed"},
    "vqa": {"questions", "annotations", "answerer", "subset", "seed"},
    "negatives": {"negatives", "images", "matcher", "subset", "seed"},
}
"""What may be said together with each way to call the command, but for its own option, --task, TARGET and --json."""


def check_given(mode: str) -> None:
    """Raise UsageError for an option that would be passed over."""
    from click.core import ParameterSource

    from api.errors import UsageError

    context = click.get_current_context()
    if mode not in GOES_WITH:
        return
    allowed = GOES_WITH[mode] | {mode, "task", "target", "json_wanted"}
    called = {"lists": "--list"}.get(mode, f"--{mode}" if mode in ("compare", "forget", "show") else f"--task {mode}")
    for parameter in context.command.params:
        given = context.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT
        if given and parameter.name not in allowed:
            raise UsageError(
                parameter.name or "", f"{parameter.opts[-1]} does not go with {called}; leave out one of the two"
            )


def run(sightline: Sightline, target: str, options: dict[str, Any]) -> int:
    """Measure, and give the evaluation's id."""
    names = ["candidates", "rerank", "queries", "seed", "synthetic", "matcher", "pooled"]
    names += ["protocol", "score", "split", "subset", "folds", "resume"]
    try:
        with Bar() as bar:
            evaluated = sightline.evaluate(target, **{name: options[name] for name in names}, progress=bar)
    except KeyboardInterrupt:
        notice("Stopped. What was asked so far is kept; the same command with --resume goes on from here.")
        raise click.exceptions.Exit(130) from None
    return evaluated.id


def finish(sightline: Sightline, evaluation_id: int, options: dict[str, Any]) -> None:
    """Write the files that are asked for, and show the evaluation."""
    from api.schemas import EvaluatedOut

    of_task = sightline.evaluation_of_task(evaluation_id)
    if of_task is not None:
        print_json(of_task)
        return
    evaluated = sightline.evaluation(evaluation_id)
    if options["report"] is not None:
        notice(f"report: {sightline.report(evaluation_id, Path(options['report']))}")
    if options["trec"] is not None:
        for path in sightline.export_trec(evaluation_id, Path(options["trec"])):
            notice(f"wrote {path}")
    if options["json_wanted"]:
        print_json(EvaluatedOut.of(evaluated).model_dump(mode="json"))
    else:
        click.echo(evaluation_table(evaluated))


def show_list(sightline: Sightline, target: str, *, json_wanted: bool) -> None:
    """List a gallery's evaluations, the newest first: of every task, and those that can go on."""
    found = sightline.evaluation_rows(sightline.name_of(target))
    if json_wanted:
        print_json([{**vars(one), "created_at": one.created_at.isoformat()} for one in found])
    else:
        click.echo(list_table(found))


def compare(sightline: Sightline, first: int, second: int, *, report: str | None, json_wanted: bool) -> None:
    """Hold two evaluations against each other."""
    from api.cli.comparison import table

    comparison = sightline.compare(first, second)
    if report is not None:
        notice(f"report: {sightline.report_comparison(comparison, Path(report))}")
    if json_wanted:
        print_json(comparison.to_json())
    else:
        click.echo(table(comparison))


def run_task(sightline: Sightline, target: str, options: dict[str, Any]) -> None:
    """Measure captions, answers or hard negatives."""
    from api.cli.task_tables import task_table

    with Bar() as bar:
        evaluated = sightline.evaluate_task(
            target,
            options["task"],
            file=options["questions"] or options["negatives"],
            annotations=options["annotations"],
            images=options["images"],
            model=options["captioner"] or options["answerer"] or options["matcher"],
            subset=options["subset"],
            seed=options["seed"],
            progress=bar,
        )
    if options["json_wanted"]:
        print_json(evaluated.to_json())
    else:
        click.echo(task_table(evaluated))
