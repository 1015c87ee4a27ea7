from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from laser_tools import cli
from laser_tools.evaluation.visor import bench
from laser_tools.evaluation.visor.flops import Size, dense_flops, flops, pruned_flops
from laser_tools.evaluation.visor.geometry import prefill
from laser_tools.evaluation.visor.pruning import PrunedForConditionalGeneration, most_kept
from laser_tools.visor.model import VisorForConditionalGeneration
from laser_tools.vlm.model import VLM
from tests.evaluation import fakes
from tests.toys import toy_llava
from tests.visor.models import all_self, inputs, logits


def counted(size: Size, n_layers_all: int) -> int:
    """By hand, for the toy LLaVA: 48 wide, 64 between, 4 heads over 2 of 12."""
    s, width, kv, between = size.n_visual + size.n_text, 48, 24, 64
    products = 2 * s * (2 * width * width + 2 * width * kv + 3 * width * between)
    return n_layers_all * (products + 4 * s * s * width)


def test_flops_of_the_dense_model_are_those_of_its_pass() -> None:
    model, given = toy_llava().model, inputs(toy_llava())
    n = given["input_ids"].shape[1]
    size = Size(36, n - 36)
    embeds = model.get_input_embeddings()(given["input_ids"])
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.get_decoder()(inputs_embeds=embeds)
    found = dense_flops(model.config.text_config, size)
    assert found == counter.get_total_flops() == counted(size, 4)


def test_flops_follow_the_layer_rule() -> None:
    text, size = toy_llava().model.config.text_config, Size(400, 20)
    alone, whole = counted(Size(0, 20), 1), counted(size, 1)
    assert flops(text, size, (), ()) == 4 * alone
    assert flops(text, size, (), (0, 1)) == 2 * alone + 2 * whole
    keys_and_values = 2 * 2 * 420 * 48 * 24
    attention = 4 * 20 * 400 * 48
    assert flops(text, size, (2,), ()) == 4 * alone + keys_and_values + attention
    assert pruned_flops(text, size, 30, 2) == 2 * whole + counted(Size(30, 20), 2)


def test_as_many_tokens_are_kept_as_the_budget_allows() -> None:
    text, size = toy_llava().model.config.text_config, Size(100, 20)
    kept = most_kept(text, size, pruned_flops(text, size, 37, 2) + 1)
    assert kept == 37
    assert most_kept(text, size, 0) == 0
    assert most_kept(text, size, dense_flops(text, size)) == 100


def test_pruning_drops_what_the_second_layer_did_not_look_at() -> None:
    """The slow twin: the dense model, all whose later layers are blind to the dropped tokens."""
    dense, given = all_self("llava").dense, inputs(toy_llava())
    visual = (given["input_ids"][0] == dense.config.image_token_id).nonzero()[:, 0]
    dense.get_decoder().set_attn_implementation("eager")
    try:
        with torch.no_grad():
            look = dense(**given, output_attentions=True).attentions[1][0, :, -1].mean(0)[visual]
        dropped = visual[look.argsort()[:-9]]

        def blind(module: object, args: object, options: dict[str, torch.Tensor]) -> None:
            options["attention_mask"] = options["attention_mask"].clone()
            options["attention_mask"][..., dropped] = torch.finfo(torch.float32).min

        hooks = [
            layer.register_forward_pre_hook(blind, with_kwargs=True)
            for layer in dense.get_decoder().layers[2:]
        ]
        twin = logits(dense, given)
        for hook in hooks:
            hook.remove()
    finally:
        dense.get_decoder().set_attn_implementation("laser_capture")
    pruned = PrunedForConditionalGeneration.keeping(dense, 9).eval()
    torch.testing.assert_close(logits(pruned, given)[:, -1], twin[:, -1], atol=1e-5, rtol=1e-4)
    cached, recomputed = (
        pruned.generate(**given, max_new_tokens=5, use_cache=use_cache)
        for use_cache in (True, False)
    )
    assert cached[:, :-4].tolist() == recomputed[:, :-4].tolist()


@pytest.fixture(scope="module")
def routed() -> VLM:
    torch.manual_seed(1)
    model = VisorForConditionalGeneration.from_dense(
        all_self("llava").dense, [2], [0, 1], configurations=[(0,), (0, 1)], router_size=8
    )
    return VLM(model.eval(), toy_llava().processor, "routed")


def test_every_way_answers_the_same_items_and_is_counted(routed: VLM) -> None:
    items, size = fakes.items(6), Size(36, 10)
    found = bench.ways(routed, [(0,), (0, 1)], size)
    bench.run(found, items, timed=2)
    reports = bench.reports(found, size)
    assert list(reports)[:4] == ["dense", "self 0", "self 0, 1", "router"]
    assert reports["dense"].flops_ratio == 1.0
    assert reports["self 0"].flops_ratio < reports["self 0, 1"].flops_ratio < 1.0
    low, high = reports["self 0"].flops_ratio, reports["self 0, 1"].flops_ratio
    assert low <= reports["router"].flops_ratio <= high
    assert all(len(way.outcomes) == 6 and len(way.seconds) == 2 for way in found.values())
    assert all(report.accuracy["overall"] == 0.0 for report in reports.values())
    told = bench.router_report(found["router"], reports["router"])
    assert sum(told.by_type["overall"].values()) == pytest.approx(1.0)
    assert set(told.by_type) == {"existence", "reading", "overall"}
    assert routed.model.config.active == [0, 1]


def test_pruning_has_the_flops_of_the_configuration_it_is_compared_with(routed: VLM) -> None:
    size = Size(400, 10)
    text = routed.model.config.text_config
    found = bench.ways(routed, [(0, 1)], size)
    (keep,) = [way.keep for way in found.values() if way.keep is not None]
    budget = flops(text, size, [2], (0, 1))
    assert pruned_flops(text, size, keep, 2) <= budget < pruned_flops(text, size, keep + 1, 2)


def test_a_prefill_of_any_length_is_timed_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["bench", "visor", "--visual-tokens", "48", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["n_visual"] == 48
    assert found["times_faster"].keys() == found["seconds"].keys()
    assert found["times_faster"]["dense"] == 1.0


def test_prefill_and_geometry_are_set_against_dense() -> None:
    found = prefill(n_visual=64, n_text=4, repeats=1)
    assert found.times_faster["dense"] == 1.0
    assert set(found.seconds) == {"dense", "3 cross", "3 cross, 1 self"}


def test_the_command_draws_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vlm, folder, out = toy_llava(), tmp_path / "toy", tmp_path / "visor.json"
    vlm.model.save_pretrained(folder)
    vlm.processor.save_pretrained(folder)
    command = ["bench", "visor", "--model", str(folder), "--n", "2", "--timed", "1", "--no-sizes"]
    assert cli.run(command) == 2
    assert "say which of its layers attend" in capsys.readouterr().err
    layers = ["--cross-layers", "2", "--self-layers", "0,1", "--configurations", "0;0,1"]
    assert cli.run([*command, *layers, "--json", str(out)]) == 0
    assert "| self 0, 1 |" in capsys.readouterr().out
    report = json.loads(out.read_text())
    assert {"accuracy", "flops_ratio", "seconds_ratio"} <= set(report["configs"]["self 0"])
    assert out.with_suffix(".png").stat().st_size > 0
    assert cli.run([*command, *layers[:4], "--configurations", "0;3"]) == 2
    assert "no self-attention in layer 3" in capsys.readouterr().err
    assert cli.run([*command, "--cross-layers", "one"]) == 2
    assert "Layers are whole numbers" in capsys.readouterr().err
