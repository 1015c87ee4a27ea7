"""Settings of the operator: LASER_* variables, and flags of `laser-tools serve` that win."""

from __future__ import annotations

import string
from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from laser_tools.errors import Misconfigured
from laser_tools.images.decode import ImageLimits
from laser_tools.wire import is_loopback

PREFIX = "LASER_"
MIN_KEY_CHARS = 16
SECRETS = ("api_keys", "api_key", "metrics_key")  # never on a command line, never shown
_KEY_CHARS = frozenset(string.ascii_letters + string.digits + string.punctuation)
_KEY_RULE = (
    f"API keys of at least {MIN_KEY_CHARS} printable ASCII characters without spaces or commas"
)

# Each description is the rule that a refusal quotes: "LASER_PORT (--port) must be <description>."
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class WorkerSettings(BaseSettings):
    """One worker's configuration; `worker_settings` makes it, with errors for people."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    host: str = Field(default="127.0.0.1", min_length=1, description="an address of this machine")
    port: int = Field(default=8000, ge=0, le=65_535, description="a port, 0 (any) to 65535")
    model: str = Field(default="pico", min_length=1, description="a model's name, folder or hub id")
    device: str | None = Field(
        default=None, description="a device of torch's, such as cpu or cuda:0"
    )
    dtype: Literal["float32", "float16", "bfloat16"] | None = Field(
        default=None, description="float32, float16 or bfloat16"
    )
    revision: str | None = Field(default=None, description="a branch, tag or commit of the hub id")
    freeze_visual_layers: Annotated[tuple[int, ...], NoDecode] = Field(
        default=(), description="numbers of the model's layers with commas, such as 3,4,5"
    )
    isolated: bool = Field(default=False, description="true or false")

    api_keys: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        default=(), description=f"{_KEY_RULE}, separated by commas"
    )
    api_key: SecretStr | None = Field(default=None, description=f"one of the {_KEY_RULE}")
    metrics_key: SecretStr | None = Field(
        default=None, description=f"a key for /metrics alone, as strong as {_KEY_RULE}"
    )

    max_body_bytes: int = Field(
        default=16 * 2**20, ge=2**16, description="a number of bytes from 65536"
    )
    max_image_bytes: int = Field(
        default=12 * 2**20, ge=2**10, description="a number of bytes from 1024"
    )
    max_image_pixels: int = Field(
        default=40_000_000,
        ge=784,
        le=160_000_000,
        description="a number of pixels, 784 to 160000000",
    )
    max_image_side_px: int = Field(
        default=16_384, ge=28, le=65_535, description="a number of pixels, 28 to 65535"
    )
    image_store_bytes: int = Field(
        default=512 * 2**20, ge=2**20, description="a number of bytes from 1048576"
    )

    max_queued: int = Field(default=64, ge=1, le=100_000, description="a number from 1 to 100000")
    max_batch_size: int = Field(default=16, ge=1, le=1024, description="a number from 1 to 1024")
    max_wait_ms: float = Field(
        default=5.0, ge=0, le=10_000, allow_inf_nan=False, description="0 to 10000 milliseconds"
    )
    per_key_in_flight: int = Field(default=32, ge=1, description="a number from 1")
    max_image_requests: int = Field(
        default=64, ge=1, le=1024, description="a number from 1 to 1024"
    )

    default_deadline_s: Seconds = Field(default=60.0, description="a number of seconds above 0")
    max_deadline_s: Seconds = Field(default=300.0, description="a number of seconds above 0")
    body_timeout_s: Seconds = Field(default=30.0, description="a number of seconds above 0")
    drain_s: Seconds = Field(default=30.0, description="a number of seconds above 0")
    heartbeat_s: Seconds = Field(
        default=60.0, ge=0.1, description="a number of seconds from 0.1, as the model shows life"
    )

    @field_validator("device", mode="before")
    @classmethod
    def _empty_is_none(cls, device: object) -> object:
        return device or None

    @field_validator("freeze_visual_layers", mode="before")
    @classmethod
    def _numbers(cls, layers: object) -> object:
        if isinstance(layers, str):
            return tuple(layer.strip() for layer in layers.split(",") if layer.strip())
        return layers

    @field_validator("api_keys", mode="before")
    @classmethod
    def _split(cls, keys: object) -> object:
        if isinstance(keys, str):
            return tuple(key.strip() for key in keys.split(",") if key.strip())
        return keys

    @field_validator("api_keys")
    @classmethod
    def _keys_are_strong(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in keys:
            _check_key(key)
        return keys

    @field_validator("api_key", "metrics_key")
    @classmethod
    def _key_is_strong(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            _check_key(key)
        return key

    @model_validator(mode="after")
    def _fits_together(self) -> WorkerSettings:
        if not self.keys and not is_loopback(self.host):
            raise ValueError(
                f"LASER_API_KEYS must hold a key when LASER_HOST (--host) is not a loopback "
                f"address: set {_KEY_RULE}, or listen on 127.0.0.1."
            )
        if self.metrics_key in self.keys:
            raise ValueError(
                "LASER_METRICS_KEY must be none of LASER_API_KEYS: whoever holds one of these may "
                "not see what the others ask."
            )
        if self.default_deadline_s > self.max_deadline_s:
            raise ValueError("LASER_DEFAULT_DEADLINE_S must be at most LASER_MAX_DEADLINE_S.")
        if self.image_store_bytes < 5 * self.max_image_pixels:
            raise ValueError(
                "LASER_IMAGE_STORE_BYTES must be at least five times LASER_MAX_IMAGE_PIXELS, "
                "or one image would not fit."
            )
        return self

    @property
    def keys(self) -> tuple[SecretStr, ...]:
        """All accepted keys; without any, every caller is let in."""
        return (*self.api_keys, *(() if self.api_key is None else (self.api_key,)))

    @property
    def image_limits(self) -> ImageLimits:
        return ImageLimits(
            max_bytes=min(self.max_image_bytes, self.max_body_bytes),
            max_pixels=self.max_image_pixels,
            max_side_px=self.max_image_side_px,
        )

    def redacted(self) -> dict[str, Any]:
        """The settings as data for a log; of the keys only how many there are."""
        shown = self.model_dump(mode="json", exclude=set(SECRETS))
        return {**shown, "n_api_keys": len(self.keys), "metrics_key": self.metrics_key is not None}


def worker_settings(**flags: object) -> WorkerSettings:
    """The settings from the environment and from flags that are not None.

    Raises Misconfigured, naming the variable and the fix.
    """
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    try:
        return WorkerSettings(**given)
    except ValidationError as error:
        raise Misconfigured(_sentence(error, flags)) from None


def _check_key(key: SecretStr) -> None:
    text = key.get_secret_value()
    if len(text) < MIN_KEY_CHARS or not _KEY_CHARS.issuperset(text) or "," in text:
        raise ValueError("weak or unusable key")


def _sentence(error: ValidationError, flags: Collection[str]) -> str:
    """A sentence on the first wrong setting; never with the value, which may be a key."""
    first = error.errors(include_url=False, include_input=False)[0]
    if not first["loc"]:
        return first["msg"].removeprefix("Value error, ")
    name = str(first["loc"][0])
    rule = WorkerSettings.model_fields[name].description
    flag = f" (--{name.replace('_', '-')})" if name in flags else ""
    return f"{PREFIX}{name.upper()}{flag} must be {rule}."
