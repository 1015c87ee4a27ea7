"""VISOR's recipe: stages train and resume, the router reads what it will read, the end loads."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlavaForConditionalGeneration

from laser_tools.evaluation.benchmarks.microscenes.scenes import Split
from laser_tools.evaluation.visor import viable as viable_configurations
from laser_tools.evaluation.visor.viable import subsets, viable
from laser_tools.visor.choice import Choice
from laser_tools.visor.model import VisorForConditionalGeneration
from laser_tools.visor.router import Router
from laser_tools.visor.walk import walk
from laser_tools.vlm.load import load_vlm
from training.pico.build import build_config, build_processor
from training.pico.store import draw_store
from training.visor import labels, recipe
from training.visor.labels import Labelled, read_by_router
from training.visor.recipe import Layers, Plan, Run, train
from training.visor.steps import ALONE, Questions, answer_logits, embedded

SCENES = 4
CPU = torch.device("cpu")
PLANS = (
    Plan("new", 1, 2, 1e-3),
    Plan("all", 10, 3, 3e-3),
    Plan("universal", 2, 2, 1e-3),
    Plan("router", 3, 8, 1e-2),
)
OPTIONS = [(0,), (0, 1)]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("views")
    draw_store(folder, "train", SCENES)
    draw_store(folder, "validation", SCENES)
    return folder


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pico's parts, two layers of eight, with fresh weights."""
    folder = tmp_path_factory.mktemp("dense")
    config = build_config()
    config.text_config.num_hidden_layers = 2
    torch.manual_seed(0)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    build_processor().save_pretrained(folder)
    return folder


@pytest.fixture
def run(tmp_path: Path, drawn: Path, dense: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(labels, "BATCH", 8)
    monkeypatch.setattr(recipe, "SCORED_BATCHES", 1)
    monkeypatch.setattr(recipe, "CHECK_BATCHES", 1)
    monkeypatch.setattr(viable_configurations, "WORST", 100.0)
    shutil.copytree(drawn, tmp_path / "run" / "views")
    return Run(tmp_path / "run", dense, Layers((1,), (0, 1)), CPU, SCENES, SCENES, labels=8)


def test_every_stage_trains_and_the_end_loads(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viable_configurations, "viable", lambda ordered, scores, worst: OPTIONS)
    train(run, PLANS)
    vlm = load_vlm(run.folder / "model")
    assert isinstance(vlm.model, VisorForConditionalGeneration)
    assert [tuple(one) for one in vlm.model.config.configurations] == OPTIONS
    assert vlm.model.config.active == [0, 1]
    assert vlm.model.router is not None
    assert (run.folder / "curves.png").stat().st_size > 0
    losses = json.loads((run.folder / "configurations.json").read_text())["losses"]
    assert set(losses) == {"[]", "[0]", "[1]", "[0, 1]"}
    saved = torch.load(run.folder / "router.pt", weights_only=True)["parts"]["router"]
    torch.testing.assert_close(
        vlm.model.router.out.weight, saved["out.weight"], atol=1e-3, rtol=1e-3
    )
    log = (run.folder / "all.jsonl").read_text().splitlines()
    lost = [json.loads(line)["loss"] for line in log]
    assert np.mean(lost[-3:]) < np.mean(lost[:2]) - 0.3
    before = {file: file.stat().st_mtime_ns for file in (run.folder / "labels").iterdir()}
    train(run, PLANS)  # all is done: nothing is made again
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_weights_that_were_added_are_trained_alone_first(run: Run) -> None:
    model = recipe._start(replace(run, layers=Layers((1,), (0,), "added")))
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    store = draw_store(run.folder / "views", "train", SCENES)
    questions = Questions.of(load_vlm(run.dense).processor, "train", ALONE, store)
    asked: dict[Split, Questions] = {"train": questions, "validation": questions}
    recipe._train_model(run, Plan("new", 2, 2, 1e-2), model, asked, [(0,)])
    changed = {name for name, weight in model.named_parameters() if (weight != before[name]).any()}
    assert "added.0.o_proj.weight" in changed
    assert all(name.startswith("added.") for name in changed)


def test_the_router_reads_in_training_what_it_reads_when_asked(run: Run) -> None:
    vlm = load_vlm(run.dense)
    model = VisorForConditionalGeneration.from_dense(vlm.model, (1,), (0, 1)).eval()
    store = draw_store(run.folder / "views", "train", SCENES)
    questions = Questions.of(vlm.processor, "train", ALONE, store)
    packed, pixels = questions.batch(np.random.default_rng(0), 3, CPU, vary=False)
    with torch.no_grad():
        found = read_by_router(model, packed, *embedded(model, packed, pixels), OPTIONS)
        for row in range(3):
            first = int(packed.where[packed.where // packed.input_ids.shape[1] == row][0])
            end = first % packed.input_ids.shape[1] + 1
            ids = packed.input_ids[row : row + 1, :end]
            visual = ids == model.config.image_token_id
            features = model.dense.get_image_features(pixels[row : row + 1], return_dict=True)
            embeds = model.get_input_embeddings()(ids)
            embeds = embeds.masked_scatter(visual[..., None], features.pooler_output[0])
            stream = model.stream(embeds, visual, None, None, None)
            parting = Choice(OPTIONS, lambda _: OPTIONS).parting
            assert parting == 1
            stream = walk(model.stack, stream, range(1), (0,))
            counted = stream.masks.text_counted(stream.text)
            alone = Router.features(stream.text, counted)[0]
            torch.testing.assert_close(found[row], alone, atol=1e-4, rtol=1e-4)


def test_packed_answers_are_those_of_the_model_asked_alone(run: Run) -> None:
    vlm = load_vlm(run.dense)
    model = VisorForConditionalGeneration.from_dense(vlm.model, (1,), (0,)).eval()
    store = draw_store(run.folder / "views", "train", SCENES)
    diet = replace(ALONE, questions=3)
    questions = Questions.of(vlm.processor, "train", diet, store)
    packed, pixels = questions.batch(np.random.default_rng(1), 1, CPU, vary=False)
    with torch.no_grad():
        ours = answer_logits(model, packed, pixels, (0,))
        embeds, visual = embedded(model, packed, pixels)
        starts = [i for i in range(len(visual[0])) if visual[0, i]][-1] + 1
        first = int((packed.where % packed.input_ids.shape[1])[0])
        alone = model(
            inputs_embeds=embeds[:, : first + 1], visual=visual[:, : first + 1], self_layers=(0,)
        ).logits[0, -1]
    assert starts < first
    # training multiplies in bfloat16
    torch.testing.assert_close(ours[0], alone, atol=5e-2, rtol=5e-2)


def test_labels_are_the_cheapest_that_keep_the_score() -> None:
    scores = torch.tensor([[0.5, 0.9, 0.9], [0.9, 0.1, 0.9], [0.1, 0.2, 0.9], [0.3, 0.2, 0.1]])
    assert Labelled(torch.zeros(4, 1), scores).labels.tolist() == [1, 0, 2, 0]


def test_a_configuration_is_viable_if_none_cheaper_is_as_good() -> None:
    ordered = [(), (0,), (2,), (0, 2), (0, 1, 2)]
    scores = {(): 3.0, (0,): 0.5, (2,): 0.6, (0, 2): 0.4, (0, 1, 2): 0.45}
    assert viable(ordered, scores, worst=1.0) == [(0,), (0, 2)]
    assert viable(ordered, scores, worst=5.0) == [(), (0,), (0, 2)]
    assert subsets((0, 2)) == [(), (0,), (2,), (0, 2)]
