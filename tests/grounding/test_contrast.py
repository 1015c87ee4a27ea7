from __future__ import annotations

import torch

from laser_tools.grounding.contrast import contrastive_attention, relative_attention


def test_identical_maps_select_nothing() -> None:
    rows = torch.rand(2, 3, 5)
    assert not contrastive_attention(rows, rows).any()
    assert not contrastive_attention(rows, rows, renormalise=True).any()


def test_only_what_the_query_added_is_kept() -> None:
    query, no_query = torch.tensor([0.5, 0.1, 0.2]), torch.tensor([0.2, 0.3, 0.2])
    torch.testing.assert_close(
        contrastive_attention(query, no_query), torch.tensor([0.3, 0.0, 0.0])
    )


def test_renormalised_rows_ignore_how_much_is_looked_at() -> None:
    no_query = torch.tensor([0.1, 0.3])
    assert not contrastive_attention(no_query * 0.5, no_query, renormalise=True).any()
    assert not contrastive_attention(torch.zeros(2), no_query, renormalise=True).isnan().any()


def test_relative_attention_is_the_ratio() -> None:
    ratio = relative_attention(torch.tensor([0.4, 0.1]), torch.tensor([0.2, 0.2]))
    torch.testing.assert_close(ratio, torch.tensor([2.0, 0.5]))
