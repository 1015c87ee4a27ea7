from __future__ import annotations

import torch

from laser_tools.grounding.vat import VATFusion, margins


def test_equal_streams_give_the_positive_stream_back_exactly() -> None:
    positive = torch.randn(3, 7) * 20
    for alpha in (0.0, 1.0, 3.7):
        assert torch.equal(VATFusion(alpha).scores(positive, positive), positive)


def test_the_scores_are_the_papers() -> None:
    positive, negative = torch.randn(2, 5), torch.randn(2, 5)
    fused = VATFusion(alpha=0.5).scores(positive, negative)
    torch.testing.assert_close(fused, 1.5 * positive - 0.5 * negative)


def test_the_cut_off_keeps_tokens_near_the_best_probability() -> None:
    probabilities = torch.tensor([[0.6, 0.3, 0.06, 0.04]])
    assert VATFusion(beta=0.5).plausible(probabilities.log()).tolist() == [
        [True, True, False, False]
    ]
    assert VATFusion().plausible(probabilities.log()).all()


def test_margins_measure_the_chosen_token_against_the_best_other() -> None:
    scores, vat = torch.tensor([[1.0, 4.0, 2.5]]), torch.tensor([[0.0, 0.5, 2.0]])
    everything = torch.ones(1, 3, dtype=torch.bool)
    found = margins(scores, everything, everything, vat)
    assert found.chosen.tolist() == [1]
    assert found.margin.tolist() == [1.5]
    assert found.vat_margin is not None
    assert found.vat_margin.tolist() == [-1.5]
    torch.testing.assert_close(found.probability, scores.softmax(-1)[:, 1])


def test_a_rival_that_the_cut_off_removed_still_counts_in_the_margin() -> None:
    scores = torch.tensor([[1.0, 4.0, 2.5]])
    eligible = torch.tensor([[True, False, False]])
    found = margins(scores, eligible, torch.ones(1, 3, dtype=torch.bool))
    assert found.chosen.tolist() == [0]
    assert found.margin.tolist() == [-3.0]
    assert found.vat_margin is None
