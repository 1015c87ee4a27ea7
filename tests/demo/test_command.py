"""`laser-tools demo`, where what it needs is not installed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from laser_tools import cli


def test_the_command_names_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert cli.run(["demo"]) == 2
    assert "laser-tools[demo]" in capsys.readouterr().err


def test_a_page_over_a_worker_needs_no_torch() -> None:
    """Asked in a fresh interpreter; `page` imports these and gradio."""
    code = (
        "import sys, laser_tools.client, laser_tools.pico, laser_tools.demo.asking, "
        "laser_tools.demo.chat_cards; "
        "print([m for m in ('torch', 'transformers') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
