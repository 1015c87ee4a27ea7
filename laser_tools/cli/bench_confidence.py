"""`laser-tools bench confidence`: whether `max_error` is kept, and what shifts do to confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from laser_tools.cli import console

if TYPE_CHECKING:
    from laser_tools.evaluation.judged import Pair
    from laser_tools.evaluation.promises import Shifted
    from laser_tools.options import LaserOptions
    from laser_tools.vlm.model import VLM


def confidence(
    n: Annotated[
        int, typer.Option("--n", min=600, help="Questions of validation, and as many of test.")
    ] = 2000,
    shifted: Annotated[int, typer.Option(min=0, help="Questions under each shift.")] = 500,
    seed: console.Seed = 0,
    model: console.Model = "pico",
    device: console.Device = None,
    options: console.Options = None,
    json_file: console.JsonFile = None,
) -> None:
    """Hold max_error to its word by 20 calibrations, and the confidence to scenes under a shift."""
    console.require("The bench", "engine")
    from laser_tools.evaluation import promises

    changed, vlm = console.options_from(options), console.load_model(model, device)
    seen, test = (_judged(vlm, split, n, seed, changed) for split in ("validation", "test"))
    levels = promises.risk(seen, test, changed, seed)
    shifts = _shifts(vlm, shifted, seed, changed) if shifted else {}
    found = promises.Promises(risk=levels, shift=shifts)
    if json_file is not None:
        report = promises.ConfidenceReport(
            model=vlm.name, n=n, shifted=shifted, seed=seed, calibration=found
        )
        console.write_json(console.plain_data(report), json_file)
    if str(json_file) != "-":
        typer.echo(promises.summary(found))


def _judged(vlm: VLM, split: str, n: int, seed: int, options: LaserOptions) -> list[Pair]:
    """Plain and LASER answers without a gate, as a calibration asks for them."""
    from dataclasses import replace

    from laser_tools.evaluation.benchmarks import benchmark
    from laser_tools.evaluation.calibrate import judge
    from laser_tools.evaluation.subject import VLMSubject

    asked, ungated = benchmark("microscenes"), replace(vlm, calibration=None)
    with console.progress(n, f"asking {split}") as bar:
        items = asked.items(split, n, seed)
        return judge(VLMSubject(ungated).ask, items, options, bar.update, asked.score)


def _shifts(vlm: VLM, n: int, seed: int, options: LaserOptions) -> dict[str, Shifted]:
    """LASER's answers under each shift, with the model's own calibration."""
    from laser_tools.evaluation.arms import BATCH_SIZE, Arm, run_arm
    from laser_tools.evaluation.batches import batches
    from laser_tools.evaluation.benchmarks import benchmark
    from laser_tools.evaluation.benchmarks.microscenes.shifts import SHIFTS
    from laser_tools.evaluation.promises import shifted
    from laser_tools.evaluation.subject import VLMSubject

    ask, found = VLMSubject(vlm).ask, {}
    for name in SHIFTS:
        asked = benchmark(f"microscenes/{name}")
        with console.progress(n, f"asking test, {name}") as bar:
            outcomes = []
            for batch in batches(asked.items("test", n, seed), BATCH_SIZE):
                outcomes += run_arm(ask, Arm("laser", options), batch, asked.score)
                bar.update(len(batch))
        found[name] = shifted(outcomes)
    return found
