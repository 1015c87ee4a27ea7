"""Originals in a folder and in LangGraph stores: other processes, budget, expiry, damage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore
from PIL import Image

from laser_tools.errors import UnknownImage
from laser_tools.images.folder import FolderArchive
from laser_tools.images.originals import ImageArchive, Retention
from laser_tools.images.store import ImageStore
from laser_tools.schema import Box
from laser_tools.tools.archive import StoreArchive
from tests.tools.fakes import scene
from tests.tools.test_attached import BLUE, QUESTION, RED, agent_over, block, kept, say, thread

KINDS = ("folder", "memory", "sqlite")


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        self.now += 1
        return self.now


class Shelves:
    """Archives over one place, as several processes have them."""

    def __init__(self, place: Any) -> None:  # noqa: ANN401 (a path or a store)
        self.place, self.clock = place, Clock()

    def archive(self, **bounds: float) -> ImageArchive:
        retention = Retention(**bounds)  # type: ignore[arg-type]
        if isinstance(self.place, Path):
            return FolderArchive(self.place, retention, self.clock)
        return StoreArchive(self.place, retention, self.clock)

    def images(self, **bounds: float) -> ImageStore:
        return ImageStore(archive=self.archive(**bounds))


@pytest.fixture(params=KINDS)
def shelves(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shelves]:
    if request.param == "sqlite":
        with SqliteStore.from_conn_string(str(tmp_path / "store.db")) as store:
            store.setup()
            yield Shelves(store)
    else:
        yield Shelves(tmp_path / "images" if request.param == "folder" else InMemoryStore())


def test_another_process_has_the_images_under_their_names(shelves: Shelves) -> None:
    first = shelves.images()
    assert [first.add(file, "a/../b") for file in (RED, BLUE, RED)] == ["img_1", "img_2", "img_1"]
    first.add(Image.new("RGB", (64, 48)), "other")
    again = shelves.images()
    assert again.describe("a/../b") == "img_1 (800x400), img_2 (800x400)"
    assert again.get("img_2", "a/../b").image == first.get("img_2", "a/../b").image
    assert again.add(scene(colour="green"), "a/../b") == "img_3"
    assert again.describe("other") == "img_1 (64x48)"
    assert again.describe("third") == "none"
    assert first.get("img_3", "a/../b").image.size == (800, 400), "added by the other process"


def test_what_memory_let_go_of_comes_back(shelves: Shelves) -> None:
    images = ImageStore(max_bytes=1, archive=shelves.archive())
    handles = [images.add(scene(size=(100 + n, 60), box=SPOT), "t") for n in range(5)]
    crop = images.add_crop("img_1", SPOT, "t")
    assert [images.get(handle, "t").image.size for handle in (*handles, crop)] == [
        *((100 + n, 60) for n in range(5)), (20, 20),
    ]  # fmt: skip


SPOT = Box(x0=10, y0=10, x1=30, y1=30)


def test_past_the_budget_the_least_recently_used_is_let_go(shelves: Shelves) -> None:
    files = [scene(size=(100 + n, 60), box=SPOT) for n in range(4)]
    images = shelves.images(max_bytes=max(map(len, files)) * 3)
    for file in files[:3]:
        images.add(file, "t")
    shelves.images().get("img_1", "t")
    images.add(files[3], "another")
    assert shelves.images().describe("t") == "img_1 (100x60), img_3 (102x60)"
    assert shelves.images().describe("another") == "img_1 (103x60)"
    with pytest.raises(UnknownImage, match="Known: img_1"):
        shelves.images().get("img_2", "t")


def test_an_image_larger_than_the_budget_is_not_archived(shelves: Shelves) -> None:
    images = shelves.images(max_bytes=10)
    assert images.add(RED, "t") == "img_1"
    assert images.get("img_1", "t").image.size == (800, 400)
    assert shelves.images().describe("t") == "none"


def test_what_nobody_used_expires(shelves: Shelves) -> None:
    images = shelves.images(max_age_s=3600)
    images.add(RED, "t")
    images.add(BLUE, "t")
    shelves.clock.now += 3000
    shelves.images(max_age_s=3600).get("img_2", "t")
    shelves.clock.now += 3000
    assert shelves.images(max_age_s=3600).describe("t") == "img_2 (800x400)"
    shelves.images(max_age_s=3600).add(scene(colour="green"), "other")
    assert shelves.images().describe("t") == "img_2 (800x400)", "the file is gone as well"


def test_a_conversation_can_be_forgotten(shelves: Shelves) -> None:
    images = shelves.images()
    for name in ("a", "b"):
        images.add(RED, name)
    images.forget("a")
    assert [shelves.images().describe(name) for name in ("a", "b")] == ["none", "img_1 (800x400)"]


def test_damaged_files_are_missing_ones(shelves: Shelves) -> None:
    images = shelves.images()
    for file in (RED, BLUE):
        images.add(file, "t")
    damage(shelves.place, "img_1")
    again = shelves.images()
    with pytest.raises(UnknownImage, match="'img_1'"):
        again.get("img_1", "t")
    assert again.get("img_2", "t").image == images.get("img_2", "t").image
    assert again.add(RED, "t") == "img_1", "given again, it is itself again"
    assert shelves.images().get("img_1", "t").image.size == (800, 400)


def damage(place: Any, handle: str) -> None:  # noqa: ANN401
    """Half a file, and beside it what no archive wrote."""
    if isinstance(place, Path):
        (file,) = place.glob(f"*/{handle}-*")
        file.write_bytes(file.read_bytes()[:100])
        for name in ("img_9-0x0-no", "notes.txt", "img_7"):
            file.with_name(name).write_bytes(b"x")
        return
    (item,) = [i for i in place.search(("laser_images", "files")) if i.key == handle]
    place.put(item.namespace, handle, {"base64": item.value["base64"][:99]})
    index = ("laser_images", "index", item.namespace[-1])
    for key, value in {"img_8": {"x": 7}, "img_9": {}}.items():
        place.put(index, key, value)


def test_a_trimmed_conversation_has_its_images_from_the_archive(shelves: Shelves) -> None:
    memory = InMemorySaver()
    agent = agent_over(kept(shelves.images()), memory=memory)
    say(agent, QUESTION, block(RED))
    messages = agent.get_state(thread()).values["messages"]
    agent.update_state(thread(), {"messages": [RemoveMessage(messages[0].id)]})
    again = agent_over(kept(shelves.images()), memory=memory)
    assert say(again, "In img_1.c1, what colour is it?").startswith("red")


def test_files_of_a_folder_are_for_this_user_alone(tmp_path: Path) -> None:
    ImageStore(archive=FolderArchive(tmp_path / "images")).add(RED, "../../x")
    (folder,) = (tmp_path / "images").iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
