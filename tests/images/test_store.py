"""Handles: lineage, frames, threads, budgets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from laser_tools.errors import ImageRejected, InvalidRequest, UnknownImage
from laser_tools.images.decode import held_bytes
from laser_tools.images.store import ImageStore
from laser_tools.images.upright import UprightImage
from laser_tools.schema import Box
from tests.hardening.image_files import encode


def box(x0: int, y0: int, x1: int, y1: int) -> Box:
    return Box(x0=x0, y0=y0, x1=x1, y1=y1)


def numbered(seed: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    return Image.new("RGB", size, (seed % 256, seed // 256, 7))


@pytest.fixture
def picture() -> Image.Image:
    return Image.effect_noise((400, 300), 90).convert("RGB")


def test_lineage_and_frames(picture: Image.Image) -> None:
    store = ImageStore()
    root = store.add(picture)
    crop = store.add_crop(root, box(100, 50, 300, 250))
    inner = store.add_crop(crop, box(20, 30, 120, 130))
    assert (root, crop, inner) == ("img_1", "img_1.c1", "img_1.c1.c1")
    view = store.get(inner)
    assert view.place.box == box(120, 80, 220, 180)
    assert (view.place.root, view.place.root_size) == ("img_1", (400, 300))
    assert view.image.pixels.tobytes() == picture.crop((120, 80, 220, 180)).tobytes()
    assert view.place.to_root(box(1, 2, 3, 4)) == box(121, 82, 123, 84)


def test_siblings_are_counted_and_equal_boxes_share_a_handle(picture: Image.Image) -> None:
    store = ImageStore()
    store.add(picture)
    boxes = [box(0, 0, 50, 50), box(10, 0, 60, 50), box(0, 0, 50, 50), box(0, 0, 400, 300)]
    crops = [store.add_crop("img_1", each) for each in boxes]
    assert crops == ["img_1.c1", "img_1.c2", "img_1.c1", "img_1"]
    assert store.add_crop("img_1.c2", box(0, 0, 10, 10)) == "img_1.c2.c1"
    assert store.add_crop("img_1", box(10, 0, 20, 10)) == "img_1.c3"  # same pixels, other parent


def test_boxes_are_clamped_to_the_crop(picture: Image.Image) -> None:
    store = ImageStore()
    store.add(picture)
    crop = store.add_crop("img_1", box(300, 200, 10_000, 10_000))
    assert store.get(crop).place.box == box(300, 200, 400, 300)
    inner = store.add_crop(crop, box(50, 50, 5000, 60))
    assert store.get(inner).place.box == box(350, 250, 400, 260)
    with pytest.raises(InvalidRequest, match="100x100"):
        store.add_crop(crop, box(100, 0, 120, 10))


def test_content_is_stored_once() -> None:
    store, image = ImageStore(), numbered(1)
    assert store.add(image) == store.add(encode(image, "PNG")) == "img_1"
    assert store.add(numbered(2)) == "img_2"
    assert store.add(image, "other") == "img_1"


def test_a_caller_cannot_change_what_is_stored(picture: Image.Image) -> None:
    store, before = ImageStore(), picture.tobytes()
    store.add(picture)
    picture.paste("red", (0, 0, 400, 300))
    store.get("img_1").image.pixels.paste("red", (0, 0, 400, 300))
    assert store.get("img_1").image.pixels.tobytes() == before


def test_an_original_is_handed_out_without_a_copy(picture: Image.Image) -> None:
    store, image = ImageStore(), UprightImage.of(picture)
    assert store.get(store.add(image)).image is image
    assert store.add(picture) == "img_1"


def test_an_image_that_is_upright_already_is_held_to_the_limits_too() -> None:
    with pytest.raises(ImageRejected, match="px on each side"):
        ImageStore().add(UprightImage.of(Image.new("RGB", (8, 8))))


def test_threads_are_apart() -> None:
    store = ImageStore()
    store.add(numbered(1), "a")
    assert store.describe("b") == "none"
    with pytest.raises(UnknownImage, match=r"Unknown image 'img_1'. Known: none."):
        store.get("img_1", "b")
    store.add(numbered(2), "b")
    store.forget("a")
    assert (store.describe("a"), store.describe("b")) == ("none", "img_1 (64x48)")


def test_forgetting_keeps_what_another_thread_names() -> None:
    store = ImageStore()
    for thread in ("a", "b"):
        store.add(numbered(1), thread)
    store.forget("a")
    assert store.get("img_1", "b").image.pixels.getpixel((0, 0)) == (1, 0, 7)


def test_past_the_budget_the_least_recently_used_goes_and_its_number_is_not_reused() -> None:
    store = ImageStore(max_bytes=2 * held_bytes(numbered(0)))
    for seed in (1, 2):
        store.add(numbered(seed))
    store.get("img_1")
    assert store.add(numbered(3)) == "img_3"
    assert store.describe() == "img_1 (64x48), img_3 (64x48)"
    with pytest.raises(UnknownImage, match="'img_2'"):
        store.get("img_2")
    assert store.add(numbered(2)) == "img_2"  # given again, it is itself again


def test_threads_are_bounded() -> None:
    store = ImageStore(max_threads=3)
    for thread in "abcd":
        store.add(numbered(1), thread)
    assert [store.describe(thread) for thread in "abcd"] == ["none", *["img_1 (64x48)"] * 3]


def test_long_lists_are_cut() -> None:
    store = ImageStore()
    for seed in range(30):
        store.add(numbered(seed))
    described = store.describe()
    assert described.startswith("img_11 (64x48), ")
    assert described.endswith("img_30 (64x48) and 10 older")


def test_refused_images_get_no_handle() -> None:
    store = ImageStore()
    with pytest.raises(ImageRejected):
        store.add(b"not an image")
    assert store.describe() == "none"


def test_many_threads_at_once_get_distinct_handles() -> None:
    store = ImageStore()
    with ThreadPoolExecutor(8) as pool:
        handles = list(pool.map(lambda seed: store.add(numbered(seed)), range(200)))
    assert sorted(handles) == sorted(f"img_{n}" for n in range(1, 201))
    for seed, handle in enumerate(handles):
        assert store.get(handle).image.pixels.getpixel((0, 0)) == (seed % 256, seed // 256, 7)
