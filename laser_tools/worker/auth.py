"""Who asks: every route but /livez needs one of the keys."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from pydantic import SecretStr
from starlette.types import ASGIApp, Receive, Scope, Send

from laser_tools.errors import Unauthorized
from laser_tools.worker.record import LIVEZ, path_of, record_of

SCHEME = b"bearer "
HOW = "Send one header 'Authorization: Bearer <key>' with a key of this worker."


class Auth:
    """ASGI middleware. It looks at the path and the Authorization header, at nothing else."""

    def __init__(self, app: ASGIApp, keys: Sequence[SecretStr]) -> None:
        self.app = app
        self._digests = [_digest(key.get_secret_value().encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and path_of(scope) != LIVEZ:
            record_of(scope).key = self._key_of(scope)
        await self.app(scope, receive, send)

    def _key_of(self, scope: Scope) -> int:
        """The key's index; 0 for everyone where there are no keys. Raises Unauthorized."""
        if not self._digests:
            return 0
        given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        if len(given) != 1 or given[0][: len(SCHEME)].lower() != SCHEME:
            raise Unauthorized.as_told(HOW)
        return self._index(_digest(given[0][len(SCHEME) :]))

    def _index(self, digest: bytes) -> int:
        """Compares with every key, so that the time taken says nothing about any of them."""
        found = [i for i, key in enumerate(self._digests) if hmac.compare_digest(key, digest)]
        if not found:
            raise Unauthorized.as_told(HOW)
        return found[0]


def _digest(key: bytes) -> bytes:
    """Of one length for all keys: a comparison would tell how long ours are."""
    return hashlib.sha256(key).digest()
