"""LASER on VISOR models: attention where there is any, the same answers where nothing is saved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from laser_tools.engine import LocalEngine
from laser_tools.errors import InvalidRequest, ModelUnavailable
from laser_tools.evaluation.same_answer import differences
from laser_tools.images import open_image_file
from laser_tools.methods.localise import localise
from laser_tools.options import PAPER, LaserOptions
from laser_tools.pico import SCENE
from laser_tools.schema import AnswerRequest
from laser_tools.visor.model import VisorForConditionalGeneration
from laser_tools.visor.walk import kind_of
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.load import load_vlm
from laser_tools.vlm.model import VLM
from laser_tools.vlm.prompts import Prompt, encode, visual_positions
from laser_tools.vlm.reading import read
from tests.oracle.naive_visor import naive_visor
from tests.toys import picture
from tests.visor.models import DENSE, all_self, n_layers

QUESTION = "what colour is the star ?"


def sparse(name: str, cross: tuple[int, ...], own: tuple[int, ...]) -> VLM:
    """A VISOR model of these layers over the dense one, with its processor."""
    dense = DENSE[name]()
    model = VisorForConditionalGeneration.from_dense(all_self(name).dense, cross, own).eval()
    return VLM(model, dense.processor, f"{name}-visor")


def routing(*configurations: tuple[int, ...]) -> VLM:
    """A VISOR model whose router, as if trained, chooses now this and now that of them."""
    dense = DENSE["llava"]()
    torch.manual_seed(3)
    model = VisorForConditionalGeneration.from_dense(
        all_self("llava").dense, (2,), (0, 2), configurations=configurations, router_size=8
    ).eval()
    vlm = VLM(model, dense.processor, "llava-visor")
    with torch.no_grad():
        model.router.out.weight.mul_(30.0)
        model.router.out.bias.zero_()
    return vlm


def requests() -> list[AnswerRequest]:
    return [
        AnswerRequest(image=picture(seed=seed), question=question, max_new_tokens=3)
        for seed, question in enumerate((QUESTION, "where is it ?"))
    ]


@pytest.mark.parametrize("name", ["llava", "llava_onevision"])
@pytest.mark.parametrize("options", [PAPER, LaserOptions(negative="pixels")])
def test_with_all_layers_laser_says_what_it_says_of_the_dense_model(
    name: str, options: LaserOptions
) -> None:
    dense = DENSE[name]()
    visor = sparse(name, (), tuple(range(n_layers(dense))))
    ours = LocalEngine(replace(visor, name=dense.name), options).answer(requests())
    theirs = LocalEngine(dense, options).answer(requests())
    assert [differences(*pair, 1e-4) for pair in zip(ours, theirs, strict=True)] == [[], []]


def test_attention_is_that_of_the_naive_twin_and_none_where_none_is_paid() -> None:
    visor = sparse("llava", (2,), (0,))
    prompt = Prompt((picture(),), QUESTION)
    found = read(ModelCall(visor), [prompt], watch="last").watched
    given = encode(visor, [prompt])
    (positions,) = visual_positions(visor, given)
    ids = given.inputs["input_ids"]
    visual = ids == visor.model.config.image_token_id
    with torch.no_grad():
        embeds = visor.model._embedded(ids, visual, given.inputs["pixel_values"], {})[0]
        kinds = [kind_of(visor.model.config, layer, (0,)) for layer in range(4)]
        _, twin = naive_visor(visor.model.dense, embeds, visual[0].tolist(), kinds)
    assert kinds == ["self", "text", "cross", "text"]
    assert found.layers == (0, 1, 2, 3)
    torch.testing.assert_close(found.rows[0], twin[:, :, positions], atol=1e-5, rtol=1e-4)
    assert found.rows[0].sum(dim=(1, 2)).gt(0).tolist() == [True, False, True, False]


def test_laser_chooses_among_the_layers_that_see() -> None:
    visor = sparse("llava", (2,), (0,))
    for seed in range(4):
        (maps,) = localise(visor, [picture(seed=seed)], [QUESTION], LaserOptions())
        assert maps.layer_idx in (0, 2)
        assert maps.vaq[[1, 3]].tolist() == [0.0, 0.0]
        assert maps.map.shape == (6, 6)


def test_the_router_is_the_gate() -> None:
    """Direct are the questions that it would leave to the cheapest configuration, no others."""
    visor = routing((0,), (0, 2))
    asked = requests() + [
        AnswerRequest(image=picture(seed=seed), question="how many", max_new_tokens=3)
        for seed in range(2, 6)
    ]
    prompts = [Prompt((request.image,), request.question) for request in asked]
    given = [encode(visor, [prompt]).inputs for prompt in prompts]
    with torch.no_grad():
        taken = [visor.model(**inputs, self_layers="route").configurations[0] for inputs in given]
    assert len(set(taken)) == 2  # else nothing is shown
    answers = LocalEngine(visor, LaserOptions(gate="router", direct_margin=0.0)).answer(asked)
    assert [answer.route == "direct" for answer in answers] == [its == (0,) for its in taken]
    assert all(answer.localisation is not None for answer in answers)
    assert all(not answer.crop_boxes for answer in answers if answer.route == "direct")


def test_direct_answers_are_those_of_plain_asking() -> None:
    visor = routing((0,), (0, 2))
    plain = [request.model_copy(update={"method": "plain"}) for request in requests()]
    with torch.no_grad():
        visor.model.router.out.bias.copy_(torch.tensor([99.0, 0.0]))
    ours = LocalEngine(visor, LaserOptions(gate="router")).answer(requests())
    theirs = LocalEngine(visor).answer(plain)
    assert [answer.route for answer in ours] == ["direct", "direct"]
    assert [answer.answer for answer in ours] == [answer.answer for answer in theirs]


@pytest.mark.parametrize("vlm", [DENSE["llava"], lambda: sparse("llava", (2,), (0,))])
def test_the_gate_needs_a_router(vlm: Callable[[], VLM]) -> None:
    engine = LocalEngine(vlm(), LaserOptions(gate="router"))
    with pytest.raises(InvalidRequest, match=r"gate='router' needs a VISOR model with a router"):
        engine.answer(requests())


def test_pico_made_sparse_finds_and_reads_with_laser(tmp_path: Path) -> None:
    """From its own folder, through the engine that the tools ask."""
    visor = sparse("pico", (1, 4, 6), (0,))
    visor.model.save_pretrained(tmp_path)
    visor.processor.save_pretrained(tmp_path)
    engine = LocalEngine.from_pretrained(tmp_path)
    assert isinstance(engine.vlm.model, VisorForConditionalGeneration)
    scene = open_image_file(SCENE)
    for method in ("plain", "laser", "vcd", "max-over-layers"):
        request = AnswerRequest(image=scene, question="what colour is the star?", method=method)
        answer = engine.answer([request])[0]
        assert answer.answer
        if method == "laser":
            assert answer.localisation is not None
            assert answer.localisation.layer_idx in (0, 1, 4, 6)
            assert answer.crop_boxes


def test_a_visor_folder_whose_layers_are_gone_is_refused(tmp_path: Path) -> None:
    visor = sparse("llava", (2,), (0,))
    visor.model.save_pretrained(tmp_path)
    visor.processor.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"cross_layers"', '"lost"'), encoding="utf-8")
    text = config.read_text().replace('"self_layers"', '"gone"').replace('"active"', '"off"')
    config.write_text(text, encoding="utf-8")
    with pytest.raises(ModelUnavailable, match="this is a dense model, or its config lost"):
        load_vlm(tmp_path)
