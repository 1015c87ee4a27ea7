"""`laser-tools visor`: what layers do for visual tokens, and VISOR models of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from laser_tools.cli import console, visor_train
from laser_tools.errors import InvalidRequest

if TYPE_CHECKING:
    from laser_tools.evaluation.visor.probe import ProbeReport
    from laser_tools.images import UprightImage
    from laser_tools.vlm.model import VLM

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
QUESTION = "Describe the image."


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    group = console.group("Vision where it is needed (VISOR, ShortV).")
    group.command()(probe)
    group.command()(visor_train.train)
    app.add_typer(group, name="visor")


def probe(
    model: console.Model = "pico",
    images: Annotated[
        Path | None, typer.Option(help="Folder of your pictures; default: MicroScenes'.")
    ] = None,
    question: Annotated[str, typer.Option(help="Asked about every picture of yours.")] = QUESTION,
    n: Annotated[int, typer.Option("--n", min=1, help="How many pictures, at most.")] = 40,
    share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Of the layers, to be frozen.")
    ] = 0.6,
    check: Annotated[
        int, typer.Option(min=0, help="MicroScenes questions to measure the cost on; 0: none.")
    ] = 480,
    device: console.Device = None,
    dtype: console.Dtype = None,
    json_file: console.JsonFile = None,
) -> None:
    """Find the layers in which visual tokens may stay as they are, and say what that costs.

    Give them to ask, zoom and serve as --freeze-visual-layers, or to load_vlm and
    LocalEngine.from_pretrained as freeze_visual_layers.
    """
    console.require("Probing a model", "engine")
    from laser_tools.evaluation.visor.probe import contributions, least

    asked = _own(images, n, question) if images is not None else _drawn(n)
    vlm = console.load_model(model, device, dtype=dtype)
    with console.progress(len(asked), "probing") as bar:
        found = contributions(vlm, asked, bar.update)
    _deliver(_report(vlm, len(asked), found, least(found, share), check), json_file)


def _own(folder: Path, n: int, question: str) -> list[tuple[UprightImage, str]]:
    """The first pictures of a folder, in order of their names."""
    from laser_tools.images import open_image_file

    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in PICTURES)
    if not files:
        kinds = ", ".join(PICTURES)
        raise InvalidRequest(f"The folder {folder} holds no pictures ({kinds}). Give another one.")
    return [(open_image_file(file), question) for file in files[:n]]


def _drawn(n: int) -> list[tuple[UprightImage, str]]:
    from laser_tools.evaluation.benchmarks import benchmark

    items = benchmark("microscenes").items("validation", n)
    return [(item.image(), item.question) for item in items]


def _report(
    vlm: VLM, n_pictures: int, found: tuple[float, ...], freeze: tuple[int, ...], check: int
) -> ProbeReport:
    from laser_tools.evaluation.benchmarks import benchmark
    from laser_tools.evaluation.visor.probe import ProbeReport, cost

    asked = benchmark("microscenes")
    measured = None
    if check:
        with console.progress(check, "asking with and without") as bar:
            items = asked.items("test", check)
            measured = cost(vlm, freeze, items, "test", bar.update, asked.score)
    return ProbeReport(
        model=vlm.name,
        n_pictures=n_pictures,
        contributions=found,
        freeze=freeze,
        cost=measured,
    )


def _deliver(report: ProbeReport, json_file: Path | None) -> None:
    from laser_tools.evaluation.visor.probe import summary

    if json_file is not None:
        console.write_json(console.plain_data(report), json_file)
    if str(json_file) != "-":
        typer.echo(summary(report))
