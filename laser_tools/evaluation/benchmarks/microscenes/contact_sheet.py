"""MicroScenes on disk: images, their questions as JSON, and one sheet to look at."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from laser_tools.evaluation.benchmarks.microscenes.items import Item, draw_items
from laser_tools.evaluation.benchmarks.microscenes.scenes import Split

SEEN_PX = 96  # what pico sees of an image
TILE_PX = 384
CAPTION_PX = 60
CAPTION_CHARS = 52  # a line
COLUMNS = 4


def write(split: Split, n: int, out: Path, seed: int = 0) -> Path:
    """Draw `n` items of `split` into `out`; returns the contact sheet's path.

    Each tile shows the image with its evidence outlined, what pico sees of it in a corner (at its
    own 96 px), and the question with its answer.
    """
    out.mkdir(parents=True, exist_ok=True)
    items = list(draw_items(split, n, seed))
    for number, item in enumerate(items):
        item.image.save(out / f"{number:04d}.png")
    (out / "items.json").write_text(json.dumps([_record(i, item) for i, item in enumerate(items)]))
    sheet = out / "contact_sheet.png"
    draw_sheet(items).save(sheet)
    return sheet


def _record(number: int, item: Item) -> dict[str, object]:
    return {
        "image": f"{number:04d}.png",
        "question": item.question,
        "answer": item.answer,
        "type": item.type,
        "detail": item.detail,
        "evidence": [box.as_tuple() for box in item.evidence],
    }


def draw_sheet(items: Sequence[Item]) -> Image.Image:
    """A tile for every item, `COLUMNS` in a row."""
    columns = min(COLUMNS, max(len(items), 1))
    rows = -(-len(items) // columns)
    sheet = Image.new("RGB", (columns * TILE_PX, rows * (TILE_PX + CAPTION_PX)), "white")
    for number, item in enumerate(items):
        x = number % columns * TILE_PX
        y = number // columns * (TILE_PX + CAPTION_PX)
        sheet.paste(_tile(item), (x, y))
    return sheet


def _tile(item: Item) -> Image.Image:
    tile = Image.new("RGB", (TILE_PX, TILE_PX + CAPTION_PX), "white")
    image = item.image.copy()
    canvas = ImageDraw.Draw(image)
    for box in item.evidence:
        canvas.rectangle(box.as_tuple(), outline="white", width=4)
    image.thumbnail((TILE_PX - 8, TILE_PX - 8))
    tile.paste(image, (4, 4))
    seen = item.image.resize((SEEN_PX, SEEN_PX), Image.Resampling.BICUBIC)
    tile.paste(seen, (TILE_PX - SEEN_PX - 4, TILE_PX - SEEN_PX - 4))
    asked = textwrap.fill(f"{item.type}: {item.question}", CAPTION_CHARS)
    text = f"{asked}\n{item.answer}"
    ImageDraw.Draw(tile).text((6, TILE_PX + 4), text, fill="black", font=ImageFont.load_default(15))
    return tile
