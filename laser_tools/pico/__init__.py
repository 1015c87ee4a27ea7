"""pico: the embedded vision-language model, its world (MicroScenes), its recipe and its weights."""

from __future__ import annotations
