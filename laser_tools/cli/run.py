"""`laser-tools bench run` and `bench report`: a public set, all methods, one table."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laser_tools.cli import console
from laser_tools.errors import InvalidRequest

if TYPE_CHECKING:
    from laser_tools.evaluation.arms import Arm
    from laser_tools.evaluation.benchmarks.base import Benchmark, Item
    from laser_tools.evaluation.run.asker import Asker
    from laser_tools.evaluation.run.going import AskBatches
    from laser_tools.evaluation.run.lines import Run
    from laser_tools.evaluation.run.setup import Questions
    from laser_tools.options import LaserOptions
    from laser_tools.vlm.model import VLM

Data = Annotated[
    Path | None, typer.Option(help="Folder of the set's official files; nothing is downloaded.")
]
Resume = Annotated[
    bool,
    typer.Option("--resume", help="Go on where an earlier run stopped; ask its errors again."),
]
BatchSize = Annotated[int, typer.Option(min=1, help="Questions per forward pass.")]
RayOption = Annotated[
    int | None,
    typer.Option(
        "--ray", min=1, metavar="N", help="Spread over N models by Ray Data, one per GPU."
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        "--json",
        help="The report (default: SET.json); lines, Markdown and a page stand beside it.",
    ),
]


@dataclass(frozen=True)
class Place:
    """The model's place: a worker, or here under these settings."""

    worker: str | None
    model: str
    device: str | None
    revision: str | None
    dtype: str | None
    options: list[str] | None
    ray: int | None


def run(
    set_name: Annotated[str, typer.Argument(metavar="SET", help="pope, textvqa, vstar ...")],
    data: Data = None,
    model: console.Model = "pico",
    methods: Annotated[str, typer.Option(help="Comma-separated.")] = "plain,laser",
    split: Annotated[str | None, typer.Option(help="Default: the set's first.")] = None,
    n: Annotated[int | None, typer.Option("--n", min=1, help="How many; default: all.")] = None,
    seed: console.Seed = 0,
    layer: Annotated[
        int | None, typer.Option(min=0, help="The layer of best-layer; default: it is chosen.")
    ] = None,
    resume: Resume = False,
    json_file: Report = None,
    batch_size: BatchSize = 16,
    device: console.Device = None,
    revision: console.Revision = None,
    dtype: console.Dtype = None,
    options: console.Options = None,
    worker: console.Worker = None,
    ray: RayOption = None,
) -> None:
    """Ask a set's questions by several methods; write a line for each, then the report.

    best-layer is LASER at the fixed layer that is right most often on 480 questions of another
    split (validation, else train), or at --layer.
    """
    console.require("The bench", "engine")
    from laser_tools.evaluation import best_layer
    from laser_tools.evaluation.benchmarks import benchmark
    from laser_tools.evaluation.run.going import check_free
    from laser_tools.evaluation.run.setup import check_methods, instructed, questions

    place = Place(worker, model, device, revision, dtype, options, ray)
    mine = benchmark(set_name, data)
    chosen = instructed(console.options_from(options), mine)
    names = tuple(name.strip() for name in methods.split(","))
    check_methods(names, remote=worker is not None)
    asked = questions(mine, split, n, seed)
    lines = _lines_file(json_file or Path(f"{set_name.replace('/', '-')}.json"))
    check_free(lines, resume)  # before anything that takes time
    known = _layer_of(lines) if layer is None and resume else layer
    if best_layer.BEST_LAYER in names and known is None:
        best_layer.choosing_split(mine, asked.split)
    _go(_Plan(mine, chosen, names, asked, known), place, lines, batch_size, resume)
    _deliver(lines, mine, asked)


@dataclass(frozen=True)
class _Plan:
    mine: Benchmark
    options: LaserOptions
    methods: tuple[str, ...]
    asked: Questions
    layer: int | None  # of best-layer; None while it is not chosen

    def with_layer(self, vlm: VLM) -> _Plan:
        """The same, with a layer that the model has, chosen where best-layer is asked for."""
        from laser_tools.evaluation import best_layer
        from laser_tools.evaluation.subject import VLMSubject

        if best_layer.BEST_LAYER not in self.methods:
            return replace(self, layer=None)
        subject, asked = VLMSubject(vlm), self.asked
        if self.layer is not None:
            return replace(self, layer=best_layer.check_layer(subject, self.layer))
        with console.progress(best_layer.LAYER_QUESTIONS, "layers") as bar:
            return replace(self, layer=best_layer.chosen_layer(
                subject, self.mine, asked.split, asked.seed, self.options, bar.update
            ))  # fmt: skip

    def arms(self, place: Place) -> list[Arm]:
        """Raises InvalidRequest for best-layer while it is not chosen."""
        from laser_tools.evaluation.run.setup import arms_of

        return arms_of(self.methods, self.options, place.worker is not None, self.layer)

    def run(self, place: Place, model: str) -> Run:
        """The facts in the first line of the file."""
        from laser_tools.evaluation import machine
        from laser_tools.evaluation.run.lines import Run

        return Run(
            set=self.mine.name,
            split=self.asked.split,
            seed=self.asked.seed,
            n=self.asked.n,
            model=model,
            methods=self.methods,
            metric=self.mine.metric,
            instruction=self.options.answer_instruction,
            options={} if place.worker else self.options.model_dump(),
            best_layer=self.layer,
            made_with={"versions": machine.versions(), "commit": machine.commit()},
        )


def _layer_of(lines: Path) -> int | None:
    """The layer that an earlier run chose."""
    from laser_tools.evaluation.run.lines import read_lines

    before = read_lines(lines).run if lines.exists() else None
    return None if before is None else before.best_layer


def _lines_file(report: Path) -> Path:
    if report.suffix != ".json":
        raise InvalidRequest(f"--json takes a file that ends in .json; not '{report}'.")
    return report.with_suffix(".jsonl")


def _go(plan: _Plan, place: Place, path: Path, batch_size: int, resume: bool) -> None:
    from laser_tools.evaluation.run.going import go
    from laser_tools.evaluation.run.setup import with_line

    with ExitStack() as held:
        plan, name, ask = _asking(plan, place, held)
        items: Iterable[Item] = plan.asked
        if place.worker:
            items = (with_line(item, plan.options.answer_instruction) for item in plan.asked)
        bar = held.enter_context(console.progress(len(plan.asked), f"bench {plan.mine.name}"))
        go(path, plan.run(place, name), items, ask, batch_size, resume, bar.update)


def _asking(plan: _Plan, place: Place, held: ExitStack) -> tuple[_Plan, str, AskBatches]:
    """The plan with its layer, the model's name, and how batches are asked of it."""
    from laser_tools.evaluation.run.asker import remote_asker
    from laser_tools.evaluation.run.asking import ask_batch
    from laser_tools.evaluation.run.going import in_turn

    asker: Asker
    if place.ray and not place.worker:
        return plan, *_spread(plan, place, plan.arms(place))
    if place.worker:
        here = place.device, place.revision, place.dtype, place.options, place.ray
        client = held.enter_context(console.remote(place.worker, *here))
        asker = remote_asker(client, "a worker's")
    else:
        from laser_tools.evaluation.run.local import local_asker

        vlm = console.load_model(place.model, place.device, place.revision, place.dtype)
        plan, asker = plan.with_layer(vlm), local_asker(vlm)
    arms, score = plan.arms(place), plan.mine.score
    ask = in_turn(lambda items, done: ask_batch(asker, arms, items, score, done))
    return plan, asker.model, ask


def _spread(plan: _Plan, place: Place, arms: list[Arm]) -> tuple[str, AskBatches]:
    """Models in processes of their own."""
    console.require("Spreading by Ray", "data")
    from laser_tools.evaluation.run.jobs import RunJob, Spread
    from laser_tools.evaluation.run.local import LoadModel

    model = str(Path(place.model).resolve()) if Path(place.model).is_dir() else place.model
    load = LoadModel(model, place.device, place.revision, place.dtype)
    job = RunJob(load, tuple(arms), plan.mine.score)
    return load.name, Spread(job, place.ray or 1)


def report(
    lines: Annotated[Path, typer.Argument(help="The .jsonl of a run.")],
    data: Data = None,
) -> None:
    """Make the report of a run again from its lines; with --data, the page has pictures."""
    console.require("The bench", "engine")
    from laser_tools.evaluation.benchmarks import FROM_FILES, benchmark
    from laser_tools.evaluation.benchmarks.file_set import InFolder
    from laser_tools.evaluation.run.lines import read_lines
    from laser_tools.evaluation.run.setup import Questions

    asked = read_lines(lines).run
    if asked is None:
        raise InvalidRequest(f"{lines} is empty.")
    if asked.set in FROM_FILES and data is None:
        _deliver(lines, InFolder(FROM_FILES[asked.set], Path()), [])
        return
    mine = benchmark(asked.set, data)
    _deliver(lines, mine, Questions(mine, asked.split, asked.n, asked.seed))


def _deliver(lines: Path, mine: Benchmark, items: Iterable[Item]) -> None:
    """Write the report in all its forms beside the lines, and print the Markdown."""
    from laser_tools.evaluation.run.lines import read_lines
    from laser_tools.evaluation.run.page import page
    from laser_tools.evaluation.run.report import report_of
    from laser_tools.evaluation.run.tables import markdown

    found = read_lines(lines)
    made = report_of(found, mine)
    text = markdown(made)
    console.write_json(console.plain_data(made), lines.with_suffix(".json"))
    lines.with_suffix(".md").write_text(text, encoding="utf-8")
    lines.with_suffix(".html").write_text(page(made, found, items), encoding="utf-8")
    typer.echo(text)
    for kind in (".jsonl", ".json", ".md", ".html"):
        typer.echo(f"wrote {lines.with_suffix(kind)}")
