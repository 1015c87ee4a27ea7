from __future__ import annotations

from pathlib import Path

from laser_tools.evaluation import sweep
from laser_tools.options import AbstainOptions, LaserOptions
from tests.evaluation import fakes

NOT_TRIED = {
    "zoom_template", "existence", "max_evidence", "min_crop_px", "layer", "max_visual_tokens",
    "max_crop_tokens", *AbstainOptions.model_fields, "gate",
}  # fmt: skip
"""Wording, reporting, budgets, a limit the paper gives, the layer (tried per model), a router."""


def test_sweep_scores_every_variant_on_the_same_items() -> None:
    variants = {"on": LaserOptions(), "off": LaserOptions(alpha=0.0)}
    on, off = sweep.sweep(fakes.FakeSubject().ask, fakes.items(40), variants)
    assert (on.accuracy["reading"], off.accuracy["reading"]) == (0.75, 0.0)
    assert (on.box_hit_rate, off.box_hit_rate) == (0.75, None)
    assert on.n == off.n == 40


def test_sweep_runs_equal_variants_once() -> None:
    subject = fakes.FakeSubject()
    twice = {"a": LaserOptions(), "b": LaserOptions(), "c": LaserOptions(alpha=0.0)}
    a, b, _ = sweep.sweep(subject.ask, fakes.items(8), twice)
    assert len(subject.asked) == 2
    assert a.accuracy == b.accuracy
    assert (a.name, b.name) == ("a", "b")


def test_every_open_choice_is_tried_and_holds_the_default() -> None:
    assert set(sweep.VALUES) == set(LaserOptions.model_fields) - NOT_TRIED
    for name, variants in sweep.one_at_a_time(LaserOptions(), sweep.VALUES).items():
        assert len(variants) >= 2
        assert repr(getattr(LaserOptions(), name)) in variants


def test_choices_table_marks_the_default() -> None:
    values = {"alpha": (0.0, 1.0)}
    base = LaserOptions(alpha=1.0)
    rows = sweep.choices(fakes.FakeSubject().ask, fakes.items(40), base, values)
    text = sweep.choices_markdown(rows, base, "40 made-up items")
    lines = text.splitlines()
    assert lines[0] == "40 made-up items"
    assert lines[2] == "| `alpha` | existence | reading | overall | box hit | s |"
    assert lines[4].startswith("| `0.0` | 100.0 | 0.0 | 50.0 | - |")
    assert lines[5].startswith("| **`1.0`** | 100.0 | 75.0 | 87.5 | 75.0 |")


def test_tables_keep_the_words_around_them(tmp_path: Path) -> None:
    path = tmp_path / "docs" / "choices.md"
    sweep.write_between_marks(path, "one\n")
    path.write_text("Why.\n" + path.read_text() + "After.\n")
    sweep.write_between_marks(path, "two\n")
    text = path.read_text()
    assert text.startswith("Why.\n")
    assert text.endswith("After.\n")
    assert "two\n" in text
    assert "one\n" not in text
