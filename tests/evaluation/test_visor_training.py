"""`laser-tools visor train`: bad data is told first, losses fall, a stopped run goes on."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText

pytest.importorskip("accelerate")  # the extra `train`

from laser_tools import cli
from laser_tools.engine import LocalEngine
from laser_tools.errors import InvalidRequest, ModelUnavailable
from laser_tools.evaluation.visor import viable as viable_configurations
from laser_tools.evaluation.visor.training import recipe, routing
from laser_tools.evaluation.visor.training.conversations import Example, read_conversations
from laser_tools.evaluation.visor.training.examples import IGNORED, Collator
from laser_tools.evaluation.visor.training.recipe import Layers, Run, begin, train
from laser_tools.evaluation.visor.training.stages import Schedule, VisorTrainer
from laser_tools.options import LaserOptions
from laser_tools.schema import AnswerRequest
from laser_tools.visor.model import VisorForConditionalGeneration, register
from laser_tools.vlm.model import VLM
from tests.toy_families import toy_llava_onevision
from tests.toys import picture, toy_llava, toy_qwen

ASKED = "<image>\nwhat colour is the star ?"
ANSWERS = ("red", "two blue", "yes")
N = 24


def entry(number: int, **changes: object) -> dict[str, object]:
    turns = [
        {"from": "human", "value": ASKED},
        {"from": "gpt", "value": ANSWERS[number % 3]},
    ]
    return {"id": number, "image": f"{number % 3}.png", "conversations": turns} | changes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures, and questions about them that each has its own answer to."""
    made = tmp_path_factory.mktemp("data")
    for number in range(3):
        picture(60, 50, seed=number).pixels.save(made / f"{number}.png")
    (made / "data.json").write_text(json.dumps([entry(number) for number in range(N)]))
    return made


def run_of(folder: Path, out: Path, **changes: object) -> Run:
    toy = toy_llava_onevision()
    vlm = replace(toy, model=deepcopy(toy.model))
    schedule = Schedule(
        epochs=2, batch_size=6, learning_rate=3e-3, save_every=3, log_every=1, workers=0, cpu=True
    )
    layers = Layers((1,), (0,), "added")
    run = Run(vlm, read_conversations(folder / "data.json", folder), layers, schedule, out)
    return replace(run, **changes)  # type: ignore[arg-type]


def test_a_stopped_run_goes_on_and_the_end_answers(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "NEW_FASTER", 1.0)
    monkeypatch.setattr(viable_configurations, "WORST", 100.0)
    monkeypatch.setattr(viable_configurations, "viable", lambda ordered, *_: ordered)
    monkeypatch.setattr(routing, "STEPS", 20)
    steps, stock = [0], VisorTrainer.compute_loss

    def counted(trainer: VisorTrainer, *given: object, **options: object) -> object:
        steps[0] += 1
        if steps[0] == 8 + 5:  # the fifth step of the second stage of eight each
            raise KeyboardInterrupt
        return stock(trainer, *given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(VisorTrainer, "compute_loss", counted)
    with pytest.raises(KeyboardInterrupt):
        train(run_of(folder, tmp_path))
    steps[0] = 100
    report = train(run_of(folder, tmp_path))
    assert steps[0] - 100 == 5 + 8  # from the checkpoint at the third step on
    assert list(report.losses) == ["new", "all", "universal"]
    assert all(len(lost) == 8 for lost in report.losses.values())
    assert sum(report.losses["universal"][-3:]) / 3 < report.losses["all"][0] - 0.3
    assert report.configurations == ((), (0,))
    assert report.router is not None

    register()
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    assert isinstance(loaded, VisorForConditionalGeneration)
    vlm = VLM(loaded, toy_llava_onevision().processor, "mine")
    asked = AnswerRequest(image=picture(60, 50), question="what colour is the star ?")
    (answer,) = LocalEngine(vlm, LaserOptions(gate="router")).answer([asked])
    assert answer.route in ("direct", "verify")

    before = load_file(tmp_path / "model" / "model.safetensors")
    train(run_of(folder, tmp_path))
    assert steps[0] - 100 == 5 + 8  # all is done
    after = load_file(tmp_path / "model" / "model.safetensors")
    assert before.keys() == after.keys()
    for name, weight in before.items():
        torch.testing.assert_close(after[name], weight)


def test_only_answers_and_their_ends_are_learned(folder: Path) -> None:
    vlm = toy_llava()
    examples = [
        Example((folder / "0.png",), (ASKED,), "two blue"),
        Example((folder / "1.png",), (ASKED, "red", "how many"), "yes"),
    ]
    made, tokenizer = Collator(vlm)(examples), vlm.processor.tokenizer
    learned = [row[row != IGNORED].tolist() for row in made["labels"]]
    ends = tokenizer("</s>", add_special_tokens=False)["input_ids"]
    words = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in ("two blue", "yes")]
    assert learned == [words[0] + ends, words[1] + ends]
    said = Collator(vlm)._prompt(examples[1])
    assert said.index("star") < said.index("red") < said.index("how many") < said.index("ASSISTANT")
    n_images = (made["input_ids"] == vlm.model.config.image_token_id).sum(dim=1)
    assert n_images.tolist() == [36, 36]


BAD = {
    "not json": ("{", "is not JSON"),
    "no list": ({"a": 1}, "must hold a list of conversations"),
    "no turns": ([{"image": "0.png"}], r"Entry 1, conversations: Field required\. An entry is"),
    "other speaker": (
        [entry(0), entry(1, conversations=[{"from": "user", "value": "a"}] * 2)],
        r"Entry 2, conversations\.0\.from: Input should be 'human' or 'gpt'",
    ),
    "no answer": (
        [entry(0, conversations=[{"from": "human", "value": ASKED}] * 2)],
        "Entry 1: human and gpt must take turns",
    ),
    "no place": ([entry(0, image=["0.png", "1.png"])], r"names 2 images, .* 1 places"),
    "no images": (
        [entry(0, image=[], conversations=[{"from": f, "value": "a"} for f in ("human", "gpt")])],
        "No entry of data.json has an image",
    ),
    "missing": ([entry(0), entry(1, image="x.png")], r"1 of 2 images are not in .* x\.png"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data_is_told(name: str, folder: Path, tmp_path: Path) -> None:
    data, sentence = BAD[name]
    file = tmp_path / "data.json"
    file.write_text(data if isinstance(data, str) else json.dumps(data))
    with pytest.raises(InvalidRequest, match=sentence):
        read_conversations(file, folder)


def test_what_cannot_be_trained_is_told_before(folder: Path, tmp_path: Path) -> None:
    run = run_of(folder, tmp_path)
    for layers, sentence in (
        (Layers((9,), (0,)), "no layer 9 for cross-attention: the model has the layers 0 to"),
        (Layers((1,), (7,)), "no layer 7 for self-attention"),
        (Layers((0, 1), (0,), "added"), "Layer 0 has cross-attention of its own"),
    ):
        with pytest.raises(ModelUnavailable, match=sentence):
            begin(replace(run, layers=layers))
    with pytest.raises(InvalidRequest, match="The router would be empty"):
        begin(replace(run, layers=Layers((1,), ())))
    with pytest.raises(InvalidRequest, match="answers are too few"):
        begin(replace(run, examples=run.examples[:5]))
    with pytest.raises(ModelUnavailable, match="VISOR is made of models such as llava"):
        begin(replace(run, vlm=toy_qwen()))
    visor = begin(run)
    with pytest.raises(ModelUnavailable, match="is a VISOR model already: give the dense one"):
        begin(replace(run, vlm=VLM(visor, run.vlm.processor, "visor")))
    with pytest.raises(InvalidRequest, match="holds a run of another model or other layers"):
        begin(replace(run, layers=Layers((1,), (0,))))


def test_the_command_tells_what_is_wrong(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["visor", "train", "--model", "pico", "--out", str(tmp_path), "--data"]
    assert cli.run([*given, str(folder / "none.json")]) == 2
    assert "There is no file" in capsys.readouterr().err
    data = str(folder / "data.json")
    assert cli.run([*given, data, "--images", str(tmp_path)]) == 2
    assert "3 of 3 images are not in" in capsys.readouterr().err
    assert cli.run([*given, data, "--cross-layers", "1,40"]) == 2
    assert "no layer 40 for cross-attention" in capsys.readouterr().err


def test_layers_are_spread_where_none_are_named() -> None:
    assert Layers.spread(8, "dense") == Layers((1, 4, 7), (0, 1, 2, 3))
    assert Layers.spread(24, "dense").own == (0, 3, 6, 9)
    assert Layers.spread(8, "added") == Layers((4, 7), (0, 1, 2, 3), "added")
