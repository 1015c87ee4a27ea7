"""The recipe: packed questions equal separate prompts; stages train, resume, and export."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaConfig

from laser_tools.evaluation.benchmarks.microscenes.asking import Question, View
from laser_tools.evaluation.benchmarks.microscenes.drawing import draw_scene
from laser_tools.evaluation.benchmarks.microscenes.scenes import Scene, Thing, make_scene
from laser_tools.evaluation.benchmarks.microscenes.words import COLOURS, LABEL_CHARS, PLACES
from training import loop
from training.pico import build, recipe, rows, views
from training.pico.build import GRID, build_config, build_processor
from training.pico.cells import glyph_targets
from training.pico.diets import BIND, HOPS, JOINT, PAIRS, TEXT, TRIPLES, TWINS
from training.pico.packing import pack, prefix_ids, sparse_cells, symbolic_cells
from training.pico.parts import Parts
from training.pico.questions import placed
from training.pico.rows import Row, Segment
from training.pico.steps import Stepped, label_loss, normalise, place_loss
from training.pico.store import ViewStore, draw_store
from training.pico.views import render, view_specs, what_is_seen
from training.pico.world import World, scene_and_views

SCENES = 6
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the views of a few scenes of both splits."""
    folder = tmp_path_factory.mktemp("views")
    draw_store(folder, "train", SCENES)
    draw_store(folder, "validation", SCENES)
    return folder


@pytest.fixture(scope="module")
def store(drawn: Path) -> ViewStore:
    return draw_store(drawn, "train", SCENES)


def test_shares_sum_to_one() -> None:
    diets = (BIND, HOPS, TEXT, TWINS, JOINT)
    shares = [list(diet.mix.values()) for diet in diets]
    shares += [list(PAIRS.values()), list(TRIPLES.values())]
    shares += [list(part) for diet in diets for part in (diet.images, diet.single)]
    for parts in shares:
        assert sum(parts) == pytest.approx(1.0)


def test_packed_questions_equal_separate_prompts(store: ViewStore) -> None:
    """The oracle: one stock forward pass per question, on prompts of one, two and three images."""
    world = World("train", SCENES, JOINT, store)
    maker = world.maker
    asked = [("What colour is the star?", "red"), ("Do the red star and it say the same?", "yes")]
    segments = [
        Segment("reading", maker.ids(f"{q} assistant:"), [*maker.ids(a), 3], False, (-1, -1))
        for q, a in asked
    ]
    packed_rows = [
        Row(2, (0, 1), segments),
        Row(4, (3,), segments[:1]),
        Row(1, (0, 1, 2), segments),
    ]
    parts = Parts.fresh(CPU)
    parts.model.eval()
    pixels = torch.from_numpy(np.array(world.pixels(packed_rows))).permute(0, 3, 1, 2) / 127.5 - 1
    with torch.no_grad():
        cells = parts.projected(parts.told(pixels))
        packed = pack(maker, packed_rows)
        ours = parts.answer_logits(replace(packed, mask=packed.mask.float()), cells).logits
        parts.model.set_attn_implementation({"text_config": "sdpa"})
        theirs = torch.cat([
            separately(parts, prefix_ids(maker, len(row.views)), own, segment)
            for row, own in zip(packed_rows, pixels.tensor_split((2, 3)), strict=True)
            for segment in row.segments
        ])  # fmt: skip
    # told runs the tower in bfloat16, the stock pass in float32
    torch.testing.assert_close(ours, theirs, atol=2e-2, rtol=0)
    assert ours.std() > 10 * (ours - theirs).abs().max()


def separately(
    parts: Parts, prefix: list[int], pixels: torch.Tensor, segment: Segment
) -> torch.Tensor:
    ids = torch.tensor([prefix + segment.prompt_ids + segment.answer_ids[:-1]])
    logits: torch.Tensor = parts.model(input_ids=ids, pixel_values=pixels).logits
    return logits[0, -len(segment.answer_ids) :]


def test_kept_targets_are_those_of_the_scenes(store: ViewStore) -> None:
    world = World("train", SCENES, JOINT, store)
    made = world.rows(np.random.default_rng(0), 8)
    assert np.array_equal(world.drawn_targets(made), np.concatenate([*map(world.targets, made)]))


def test_the_same_step_asks_the_same(store: ViewStore) -> None:
    world = World("train", SCENES, JOINT, store)
    once, again = (world.rows(np.random.default_rng((7, 3)), 4) for _ in range(2))
    assert once == again


def test_blind_tokens_see_no_image_and_the_last_one_does(store: ViewStore) -> None:
    world = World("train", SCENES, JOINT, store)
    ids = world.maker.ids("What colour is the star? assistant:")
    segment = Segment("attribute", ids, [3], True, (-1, -1))
    packed = pack(world.maker, [Row(0, (0,), [segment])])
    sees = (packed.mask[0, 0] == 0)[:, packed.slots[0] >= 0].any(dim=1)
    question = range(len(sees) - len(ids), len(sees))
    assert [bool(sees[i]) for i in question] == [False] * (len(ids) - 1) + [True]


def test_places_are_those_of_the_thing_named_and_of_the_thing_asked_for() -> None:
    world = World("train", SCENES, HOPS)
    made = world.rows(np.random.default_rng(0), 12)
    names = ["nothing", *COLOURS]
    hops = 0
    for row in made:
        colours = world.targets(row)[0, ..., 0].reshape(-1)
        for segment in row.segments:
            text = world.maker.tokenizer.decode(segment.prompt_ids)
            answer = world.maker.tokenizer.decode(segment.answer_ids[:-1])
            named, asked = segment.places
            if segment.kind == "relation" and names[colours[asked]] == answer:
                assert names[colours[named]] in text
                hops += 1
            if segment.kind == "none" and named >= 0:
                assert asked == -1
    assert hops > 5


def test_the_loss_of_places_is_that_of_the_places_known() -> None:
    """Two targets, one layer; the second target's places are not known."""
    told = torch.full((1, 2, 4, 12), -20.0)
    for i, at in enumerate((1, 2, 3, 4)):  # row and column of a thing, then of another
        told[0, 0, i, at] = 20.0
    places = torch.tensor([[1 * 12 + 2, 3 * 12 + 4], [-1, -1]])
    loss, right = place_loss(told, places)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert right == {"first place": 1.0, "second place": 1.0}
    loss, right = place_loss(told, places + torch.tensor([[12], [0]]))
    assert loss.item() == pytest.approx(20.0, rel=0.01)  # rows are wrong, columns right
    assert right == {"first place": 0.0, "second place": 0.0}


def test_labels_are_those_that_the_question_compares() -> None:
    view = View(
        (Thing("red", "star", "47", 10, 10, 5), Thing("blue", "circle", "4a", 80, 80, 5)),
        (),
        (100.0, 100.0),
        1.0,
    )
    red, blue = view.things
    maker = rows.RowMaker(build.build_tokenizer(), JOINT, "train")
    asked = {"same label": (red, blue), "neighbour reading": (red, blue), "relation": (red, blue)}
    found = {
        kind: maker._segment(np.random.default_rng(0), Question(kind, "?", "yes", things), view)
        for kind, things in asked.items()
    }
    four, seven, a = (LABEL_CHARS.index(char) + 1 for char in "47a")
    assert found["same label"].labels == (four, seven, 0, four, a, 0)
    assert found["neighbour reading"].labels == (-1, -1, -1, four, a, 0)
    assert found["relation"].labels == rows.NO_LABELS
    packed = pack(maker, [Row(0, (0,), list(found.values()))])
    laid_out = {tuple(row) for row in packed.labels.tolist()}
    assert laid_out == {segment.labels for segment in found.values()}


def test_the_loss_of_labels_is_that_of_the_labels_known() -> None:
    labels = torch.tensor([[1, 2, 0, 3, 0, 0], [-1] * 6])
    told = torch.full((1, 2, 6, 19), -20.0).scatter(3, labels.clamp(min=0)[None, ..., None], 20.0)
    loss, read = label_loss(told, labels)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert read == {"both labels": 1.0}
    loss, read = label_loss(told.roll(1, dims=3), labels)
    assert loss.item() == pytest.approx(40.0, rel=0.01)
    assert read == {"both labels": 0.0}
    loss, read = label_loss(told, torch.full((2, 6), -1))
    assert (loss.item(), len(read)) == (0.0, 0)


def test_sparse_batches_keep_everything_but_background(store: ViewStore) -> None:
    world = World("train", SCENES, JOINT, store)
    rng = np.random.default_rng(0)
    made = world.rows(rng, 8)
    targets = world.drawn_targets(made)
    flat = np.concatenate(sparse_cells(rng, made, targets))
    background = targets[..., 0].reshape(-1) == 0
    assert flat[~background].all()
    assert 0.1 < flat[background].mean() < 0.4


def test_a_thin_symbolic_scene_has_one_cell_a_thing() -> None:
    scene, specs = scene_and_views("train", 0)
    targets = World("train", 1, TEXT).targets(Row(0, (0,), []))
    kept = symbolic_cells(np.random.default_rng(0), targets, thin=True)
    assert kept[targets[..., 0].reshape(-1) > 0].sum() == len(scene.things)
    assert len(specs) == len(views.KINDS)


def test_a_name_that_only_a_crop_makes_unique_is_not_asked_for() -> None:
    """Readings are asked of things in a crop, by names that say which in the whole image."""
    rng = np.random.default_rng(0)
    short = 0
    for index in range(100):
        scene, specs = scene_and_views("train", index)
        whole, near = (views.what_is_seen(scene, specs[view]) for view in (0, 1))
        question = rows.label(rng, rows.narrowed(whole, {thing.name for thing in near.things}))
        if question:
            named = [t for t in whole.things if _may_be_called(t, question.text)]
            assert tuple(named) == question.evidence
            short += named[0].name not in question.text
    assert short > 3


def _may_be_called(thing: Thing, text: str) -> bool:
    names = thing.name, f"the {thing.shape}", f"{thing.colour} object"
    return any(name in text for name in names)


def test_what_is_in_a_ninth_of_the_picture_is_all_that_is_there() -> None:
    asked = 0
    for index in range(200):
        scene, specs = scene_and_views("train", index)
        question = placed(
            np.random.default_rng(index), views.what_is_seen(scene, specs[views.WHOLE])
        )
        if question:
            places = [place for row in PLACES for place in row]
            place = max((p for p in places if f"in the {p}" in question.text), key=len)
            there = [t for t in scene.things if _ninth(scene, t) == place]
            assert [getattr(t, question.detail) for t in there] == (
                [] if question.answer == "nothing" else [question.answer]
            )
            asked += 1
    assert asked > 40


def _ninth(scene: Scene, thing: Thing) -> str:
    return PLACES[int(3 * thing.y / scene.size[1])][int(3 * thing.x / scene.size[0])]


def one_layer() -> LlavaConfig:
    config = build_config()
    config.text_config.num_hidden_layers = 1
    return config


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> tuple[recipe.Plan, ...]:
    """One layer of eight, one step a stage: Muon's bfloat16 steps take seconds on some CPUs."""
    monkeypatch.setattr(build, "build_config", one_layer)
    for name, value in {"TRAIN_SCENES": SCENES, "CHECK_SCENES": SCENES, "CHECK_BATCHES": 1}.items():
        monkeypatch.setattr(recipe, name, value)
    return tuple(replace(plan, steps=1, batch=2) for plan in recipe.PLANS)


def test_every_stage_trains_and_the_last_exports(
    tmp_path: Path, drawn: Path, tiny: tuple[recipe.Plan, ...]
) -> None:
    shutil.copytree(drawn, tmp_path / "views")
    recipe.train(tmp_path, CPU, plans=tiny)
    assert (tmp_path / "curves.png").stat().st_size > 0
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "model", dtype=torch.float32)
    saved = torch.load(tmp_path / "joint.pt", weights_only=True)["parts"]["model"]
    name = "model.vision_tower.row"
    torch.testing.assert_close(model.state_dict()[name], saved[name], atol=1e-3, rtol=0)
    tokenizer = AutoProcessor.from_pretrained(tmp_path / "model").tokenizer
    assert tokenizer.convert_ids_to_tokens(range(len(tokenizer))) == list(build.TOKENS)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(
    tmp_path: Path, tiny: tuple[recipe.Plan, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped a step after its checkpoint, so that the log is ahead of the weights."""
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 2)
    plans = [replace(plan, steps=4) for plan in tiny if plan.name == "bind"]
    recipe.train(tmp_path / "whole", CPU, ("bind",), plans)

    def stopped(parts: Parts, world: World, rng: np.random.Generator, batch: int) -> Stepped:
        if len((tmp_path / "parts" / "bind.jsonl").read_text().splitlines()) == 3:
            raise KeyboardInterrupt
        return plans[0].step(parts, world, rng, batch)

    with pytest.raises(KeyboardInterrupt):
        recipe.train(tmp_path / "parts", CPU, ("bind",), [replace(plans[0], step=stopped)])
    recipe.train(tmp_path / "parts", CPU, ("bind",), plans)
    assert _losses(tmp_path / "parts") == pytest.approx(_losses(tmp_path / "whole"), abs=1e-3)


def _losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "bind.jsonl").read_text().splitlines()]


def test_labels_are_one_token_a_character(tmp_path: Path) -> None:
    build_processor().save_pretrained(tmp_path)
    tokenizer = AutoProcessor.from_pretrained(tmp_path).tokenizer
    for text, count in (("047", 3), ("kx", 2), ("top left", 2), ("hexagon", 7)):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert len(ids) == count
        assert tokenizer.decode(ids) == text


def test_an_image_of_any_shape_becomes_one_grid() -> None:
    inputs = build_processor()(
        text=["<s>user: <image>"], images=[Image.new("RGB", (300, 900))], return_tensors="pt"
    )
    assert inputs["pixel_values"].shape == (1, 3, 96, 96)
    assert int((inputs["input_ids"] == build_processor().image_token_id).sum()) == GRID * GRID


def test_a_view_has_the_pixels_that_the_processor_makes() -> None:
    scene = make_scene("train", 5)
    image, spec = draw_scene(scene), view_specs(scene)[1]
    ours = normalise(render(scene, image, spec)[None])
    theirs = build_processor().image_processor(image.crop(spec.box), return_tensors="pt")
    torch.testing.assert_close(ours, theirs["pixel_values"], atol=1e-5, rtol=0)


def test_a_masked_thing_is_gone_from_pixels_and_targets() -> None:
    scene = next(s for i in range(50) if (s := make_scene("train", i)).things)
    spec = view_specs(scene)[views.MASKED_NEAR]
    masked = render(scene, draw_scene(scene), spec)
    plain = render(scene, draw_scene(scene), replace(spec, masked=None))
    assert spec.masked
    assert not np.array_equal(plain, masked)
    assert spec.masked.name not in {thing.name for thing in what_is_seen(scene, spec).things}


def test_glyphs_are_named_only_where_they_can_be_told_apart() -> None:
    scene = next(s for i in range(50) if (s := make_scene("train", i)).things)
    thing = scene.things[0]  # the largest, which always carries large letters
    whole, near = (what_is_seen(scene, view_specs(scene)[v]) for v in (views.WHOLE, views.NEAR))
    far = replace(whole, size=(4 * whole.size[0], 4 * whole.size[1]))
    assert (glyph_targets(far) <= 0).all()
    around = replace(whole, things=(replace(thing, x=192.0, y=192.0),), cut=(), size=(384.0, 384.0))
    found = {LABEL_CHARS[code - 1] for code in np.unique(glyph_targets(around)) if code > 0}
    assert found == set(thing.label)
    assert near.size[0] == whole.size[0] / 2
