"""`laser-tools batch`: a file of questions in, a file of answers out."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laser_tools.cli import console
from laser_tools.cli.run import RayOption

if TYPE_CHECKING:
    from laser_tools.evaluation.run.batch import AnswerBatches, BatchJob
    from laser_tools.evaluation.run.local import LoadEngine


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(batch)


def batch(
    questions: Annotated[
        Path,
        typer.Argument(
            help='JSON lines, each {"image": PATH, "question": TEXT}, and id, choices, box, method.'
        ),
    ],
    out: Annotated[Path, typer.Option(help="Answers, a JSON line for each question.")],
    model: console.Model = "pico",
    resume: Annotated[bool, typer.Option("--resume", help="Go on where OUT stops.")] = False,
    crops: Annotated[
        Path | None, typer.Option(help="Draw the crops that were read into this folder.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Questions at a time.")] = 16,
    device: console.Device = None,
    revision: console.Revision = None,
    dtype: console.Dtype = None,
    options: console.Options = None,
    worker: console.Worker = None,
    ray: RayOption = None,
    as_json: console.AsJson = False,
) -> None:
    """Answer a file of QUESTIONS about pictures.

    Paths of pictures are seen from the folder of the file.
    """
    if not worker:
        console.require("Asking a model in this process", "engine")
    from laser_tools.evaluation.run.batch import BatchJob, answer_file, check_ids, in_turn

    total = check_ids(questions)
    with ExitStack() as held:
        answer: AnswerBatches
        folder, drawn = questions.resolve().parent, crops and crops.resolve()
        if worker:
            client = held.enter_context(
                console.remote(worker, device, revision, dtype, options, ray)
            )
            answer = in_turn(BatchJob(lambda: client, folder, drawn))
        else:
            load = _engine(model, device, revision, dtype, options)
            answer = _spread(BatchJob(load, folder, drawn), ray)
        bar = held.enter_context(console.progress(total, "batch"))
        done = answer_file(
            questions, out, answer, batch_size=batch_size, resume=resume, progress=bar.update
        )
    if as_json:
        console.echo_json({"out": str(out), "answered": done.answered, "errors": done.errors})
    else:
        typer.echo(f"wrote {out}: {done.answered:,} answered, {done.errors:,} errors")


def _engine(
    model: str,
    device: str | None,
    revision: str | None,
    dtype: str | None,
    options: list[str] | None,
) -> LoadEngine:
    from laser_tools.evaluation.run.local import LoadEngine, LoadModel

    name = str(Path(model).resolve()) if Path(model).is_dir() else model
    return LoadEngine(LoadModel(name, device, revision, dtype), console.options_from(options))


def _spread(job: BatchJob, models: int | None) -> AnswerBatches:
    """Over models in processes of their own, or over the one here."""
    from laser_tools.evaluation.run.batch import in_turn

    if models is None:
        return in_turn(job)
    console.require("Spreading by Ray", "data")
    from laser_tools.evaluation.run.spread import spread

    return lambda batches: spread(job, batches, models)
