from __future__ import annotations

import torch
from transformers import DynamicLayer

from laser_tools.vlm.prefix_cache import Key, PrefixCache, RoomyLayer, Segment, key_values


def key(name: str) -> Key:
    return (((1, 2), name.encode()),)


def segment(n_tokens: int) -> Segment:
    """56 bytes a token: 8 for its id, 48 for 2 layers x 2 x 1 head x 3 numbers."""
    return Segment(torch.zeros(n_tokens, dtype=torch.long), torch.randn(2, 2, 1, n_tokens, 3), {})


def test_the_least_recently_used_goes_first() -> None:
    cache = PrefixCache(max_bytes=2 * 560)
    for name in "ab":
        cache.put(key(name), segment(10))
    assert cache.get(key("a")) is not None
    cache.put(key("c"), segment(10))
    assert [cache.get(key(name)) is not None for name in "abc"] == [True, False, True]


def test_the_budget_is_in_bytes() -> None:
    cache = PrefixCache(max_bytes=1000)
    cache.put(key("a"), segment(10))
    cache.put(key("a"), segment(10))
    assert (len(cache), cache.nbytes) == (1, 560)
    cache.put(key("large"), segment(18))  # 1008 bytes: it would push out everything for nothing
    assert (len(cache), cache.nbytes) == (1, 560)
    cache.put(key("b"), segment(17))
    assert (len(cache), cache.nbytes) == (1, 952)
    assert cache.get(key("a")) is None


def test_with_no_budget_nothing_is_kept() -> None:
    cache = PrefixCache(max_bytes=0)
    cache.put(key("a"), segment(1))
    assert (len(cache), cache.nbytes) == (0, 0)


def test_a_batchs_cache_is_padded_left_and_is_a_copy() -> None:
    short, long = segment(2), segment(3)
    before = short.states.clone()
    cache = key_values([[short], [short, long]], room=1)
    assert cache.get_seq_length() == 5
    keys = cache.layers[1].keys  # B x H x T x D
    assert torch.equal(keys[0, 0, 3:], short.states[1, 0, 0])
    assert not keys[0, 0, :3].any()
    assert torch.equal(keys[1, 0, 2:], long.states[1, 0, 0])
    cache.layers[1].keys.zero_()
    assert torch.equal(short.states, before)


def test_a_layer_with_room_gives_what_a_growing_one_does() -> None:
    room = torch.randn(2, 1, 2, 6, 3)
    roomy, growing = RoomyLayer(room.clone(), 3), DynamicLayer()
    growing.update(*room[..., :3, :].unbind())
    for n_tokens in (1, 2, 1, 1):  # the last two find no room
        added = torch.randn(2, 1, 2, n_tokens, 3)
        for one, other in zip(roomy.update(*added), growing.update(*added), strict=True):
            assert torch.equal(one, other)


def test_a_layer_with_room_may_be_cropped_and_repeated() -> None:
    """Then its tensors are no longer its room, and what is added must not go there."""
    room, added = torch.randn(2, 1, 2, 6, 3), torch.randn(2, 2, 2, 1, 3)
    roomy = RoomyLayer(room.clone(), 3)
    roomy.crop(-1)
    roomy.batch_repeat_interleave(2)
    keys, _ = roomy.update(*added)
    assert torch.equal(keys[:, :, :2], room[0, :, :, :2].repeat(2, 1, 1, 1))
    assert torch.equal(keys[:, :, 2:], added[0])
