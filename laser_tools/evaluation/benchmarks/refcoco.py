"""RefCOCO, RefCOCO+ and RefCOCOg: where is what an expression speaks of?

Files of lichengunc/refer: refs(unc).p or refs(umd).p and instances.json; COCO's train2014 pictures.
What is measured is LASER's aggregation (arXiv 2602.04304): the share of the map's mass in the box.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from laser_tools.evaluation.benchmarks.base import Item, Scored
from laser_tools.evaluation.benchmarks.file_set import FileSet
from laser_tools.evaluation.benchmarks.pictures import picture_in, xywh_box
from laser_tools.evaluation.benchmarks.plain_pickle import read_plain
from laser_tools.evaluation.benchmarks.records import (
    Record,
    Source,
    checked,
    listed_under,
    odd,
    official,
)
from laser_tools.evaluation.metrics import box_hit, map_share
from laser_tools.schema import GroundedAnswer

SOURCE = Source(
    "github.com/lichengunc/refer and cocodataset.org (train2014)",
    "refs(unc).p (refcocog: refs(umd).p), instances.json, train2014/",
)
QUESTION = "Where is {}?"


class Sentence(BaseModel):
    sent_id: int
    sent: str


class Reference(BaseModel):
    ref_id: int
    ann_id: int
    image_id: int
    split: str
    sentences: tuple[Sentence, ...]


class Annotation(BaseModel):
    id: int
    bbox: tuple[float, float, float, float]


class Picture(BaseModel):
    id: int
    file_name: str


def read(name: str, folder: Path, split: str, seed: int) -> Iterator[Item]:
    path = official(folder, name, SOURCE)
    instances = official(folder, "instances.json", SOURCE)
    rows = read_plain(path)
    if not isinstance(rows, list):
        raise odd(path, "is not a list", SOURCE)
    boxes = {
        annotation.id: annotation.bbox for annotation in _part(instances, "annotations", Annotation)
    }
    files = {picture.id: picture.file_name for picture in _part(instances, "images", Picture)}
    for reference in checked(rows, Reference, path, SOURCE):
        if reference.split != split:
            continue
        if reference.ann_id not in boxes or reference.image_id not in files:
            raise odd(instances, f"does not know reference {reference.ref_id}", SOURCE)
        for sentence in reference.sentences:
            yield Item(
                id=str(sentence.sent_id),
                image=picture_in(folder, files[reference.image_id], "train2014", "images"),
                question=QUESTION.format(sentence.sent),
                references=(sentence.sent,),
                group=split,
                evidence=(xywh_box(boxes[reference.ann_id]),),
            )


def _part(path: Path, key: str, kind: type[Record]) -> Iterator[Record]:
    return checked(listed_under(path, key, SOURCE), kind, path, SOURCE)


def score(item: Item, answer: GroundedAnswer) -> float:
    """The share of the map's mass inside the box; 0 for an answer without a map."""
    where = answer.localisation
    return map_share(np.array(where.map), where.map_box, item.evidence) if where else 0.0


def summary(scored: Sequence[Scored]) -> Mapping[str, float]:
    """Aggregation and hits of the answers that have a map and a crop; nothing for none."""
    masses = [each.score for each in scored if each.answer.localisation]
    cropped = [each for each in scored if each.answer.crop_boxes]
    hits = [box_hit(each.item.evidence, each.answer.crop_boxes[0]) for each in cropped]
    return {
        **({"aggregation": sum(masses) / len(masses)} if masses else {}),
        **({"hit": sum(hits) / len(hits)} if hits else {}),
    }


def _set(name: str, file: str, splits: tuple[str, ...]) -> FileSet:
    return FileSet(
        name=name,
        splits=splits,
        files=(file, "instances.json"),
        metric="share of the map's mass in the box (0 without a map)",
        read=partial(read, file),
        instruction="",
        score=score,
        summary=summary,
    )


UNC = ("val", "testA", "testB", "train")
REFCOCO, REFCOCO_PLUS = _set("refcoco", "refs(unc).p", UNC), _set("refcoco+", "refs(unc).p", UNC)
REFCOCOG = _set("refcocog", "refs(umd).p", ("val", "test", "train"))
