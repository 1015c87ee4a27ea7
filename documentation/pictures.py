"""The pictures of docs/concepts.md, computed from the embedded model and its shipped scene.

    python -m documentation.pictures

writes them into docs/; run it again when pico's weights change.
"""

from __future__ import annotations

from pathlib import Path

from documentation import drawing
from documentation.gather import DOCS
from laser_tools.grounding.layers import maps_by_layer
from laser_tools.images import UprightImage, open_image_file
from laser_tools.methods.laser import con_vicrop
from laser_tools.methods.localise import AttentionMaps, contrast, localise
from laser_tools.methods.masking import read_both
from laser_tools.methods.views import masked
from laser_tools.options import LaserOptions
from laser_tools.pico import SCENE
from laser_tools.schema import AnswerRequest
from laser_tools.vlm.call import ModelCall
from laser_tools.vlm.load import load_vlm
from laser_tools.vlm.model import VLM

READING = "What number is on the yellow square?"
RELATION = "What shape is left of the yellow square?"
OPTIONS = LaserOptions()
PAINTED = LaserOptions(negative="pixels")  # the paper's negative view, which can be drawn
N_TOKENS = 5  # candidates for the first token that are drawn


def main(folder: Path = DOCS) -> None:
    """Write the three pictures."""
    vlm, image = load_vlm("pico"), open_image_file(SCENE)
    reading, relation = localise(vlm, [image, image], [READING, RELATION], OPTIONS)
    _contrast(image, reading, folder / "concepts.contrast.webp")
    _layers(image, {READING: reading, RELATION: relation}, folder / "concepts.vaq.webp")
    _streams(vlm, image, reading, folder / "concepts.vat.webp")


def _contrast(image: UprightImage, maps: AttentionMaps, path: Path) -> None:
    """Attention of the chosen layer, mean over its heads, under both prompts; and the map."""
    row = maps.layers.index(maps.layer_idx)
    grids = {
        "with the question": maps.query[row].mean(0),
        "without it": maps.no_query[row].mean(0),
        "what the question adds": maps.map,
    }
    panels = {title: grid.numpy() for title, grid in grids.items()}
    drawing.draw_maps(image.pixels, panels, maps.map_box, path)


def _layers(image: UprightImage, asked: dict[str, AttentionMaps], path: Path) -> None:
    """Every layer's map and VAQ, a row of them for each question."""
    rows = {question: _row(maps) for question, maps in asked.items()}
    drawing.draw_layers(image.pixels, rows, path)


def _row(maps: AttentionMaps) -> drawing.Layers:
    by_layer = maps_by_layer(contrast(maps, OPTIONS), OPTIONS.k_head, OPTIONS.aggregate)
    grids = by_layer.reshape(-1, *maps.map.shape).numpy()
    return drawing.Layers(grids, maps.map_box, maps.vaq.tolist(), maps.layer_idx)


def _streams(vlm: VLM, image: UprightImage, maps: AttentionMaps, path: Path) -> None:
    """The crop, the crop without its evidence, and what each says about the first token."""
    region = con_vicrop(maps, image.size, OPTIONS)
    if region is None:
        raise SystemExit("The question changed nothing in the attention: there is no crop to draw.")
    call = ModelCall(vlm, [image])
    request = AnswerRequest(image=image, question=READING)
    positive, negative = read_both(call, [request], [region], PAINTED).next_logits
    best = positive.topk(N_TOKENS).indices
    tokens = vlm.processor.tokenizer.convert_ids_to_tokens(best.tolist())
    hidden = masked(image, region, OPTIONS.mask_fill)
    views = [shown.crop(region.crop).pixels for shown in (image, hidden)]
    streams = drawing.Streams(tokens, positive[best].tolist(), negative[best].tolist())
    drawing.draw_streams(views, streams, path)


if __name__ == "__main__":
    main()
