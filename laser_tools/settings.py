"""Environment settings: LASER_MODEL, or the worker to ask instead (LASER_BASE_URL ...)."""

from __future__ import annotations

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from laser_tools.errors import Misconfigured

DEFAULT_TIMEOUT_S = 60.0
MAX_TIMEOUT_S = 3600.0
_FIX = {
    "timeout_s": f"a number of seconds above 0 and at most {MAX_TIMEOUT_S:g}",
    "allow_http": "true or false",
}


class LaserSettings(BaseSettings):
    """Defaults of the tools; an argument given in code wins. An empty variable is not set."""

    model_config = SettingsConfigDict(
        env_prefix="LASER_",
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    model: str = "pico"  # the packaged model's name, or a local model folder
    base_url: str | None = None  # a worker's address; set, it answers instead of a model here
    api_key: SecretStr | None = None  # the worker's
    timeout_s: float = Field(default=DEFAULT_TIMEOUT_S, gt=0, le=MAX_TIMEOUT_S)  # of one call
    mcp_key: SecretStr | None = None  # of the MCP server over HTTP
    allow_http: bool = False  # http:// to another machine, such as inside a private network


def read_settings() -> LaserSettings:
    """The settings of this process's environment.

    Raises:
        Misconfigured: a variable cannot be used; the text names it and says what it must be.
    """
    try:
        return LaserSettings()
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        must = _FIX.get(name, "text")
        raise Misconfigured(f"LASER_{name.upper()} must be {must}. Change or unset it.") from None
