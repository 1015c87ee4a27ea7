"""A chat model by name, for the applications that take one. Needs langchain."""

from __future__ import annotations

import sys

from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel

from laser_tools.errors import Misconfigured


def chat_model(name: str) -> BaseChatModel:
    """The chat model that LangChain's `init_chat_model` knows by this name ("openai:gpt-5").

    Raises:
        Misconfigured: nobody knows it, its package is not installed, or its key is not set.
    """
    try:
        model: BaseChatModel = init_chat_model(name)
    except _expected() as error:
        raise Misconfigured(f"The chat model '{name}' cannot be used. {error}") from None
    return model


def _expected() -> tuple[type[Exception], ...]:
    """Errors of a model that cannot be made; openai has its own for a missing key."""
    openai = sys.modules.get("openai")
    return (ImportError, ValueError, *([openai.OpenAIError] if openai else []))
