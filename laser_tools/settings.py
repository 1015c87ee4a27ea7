"""What the environment may set: LASER_MODEL."""

from __future__ import annotations

from pydantic_settings import BaseSettings, SettingsConfigDict


class LaserSettings(BaseSettings):
    """Defaults of the tools; an argument given in code wins."""

    model_config = SettingsConfigDict(env_prefix="LASER_", extra="ignore")

    model: str = "pico"  # the packaged model's name, or a local model folder
