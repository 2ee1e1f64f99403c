"""All API keys, those of the settings and those in Redis, and whether requests need one at all."""

from __future__ import annotations

from api.auth.api_keys import ApiKey, ApiKeys, only_this_machine
from api.auth.key_store import KeyStore
from wire.settings import Settings


class KeyRing:
    """Finds the key of a request. The keys of the settings need no Redis."""

    def __init__(self, settings: Settings, configured: ApiKeys, store: KeyStore) -> None:
        self.configured, self.store = configured, store
        self._always = always_required(settings, configured)

    async def required(self) -> bool:
        """Whether requests need a key. Raises RedisError if that was never known."""
        return self._always or await self.store.any()

    @property
    def may_be_required(self) -> bool:
        """The same as far as is known: Redis isn't asked."""
        return self._always or self.store.may_have_keys

    async def find(self, key: bytes) -> ApiKey | None:
        """The key with this value."""
        return self.configured.find(key) or await self.store.find(key)

    async def with_id(self, key_id: str) -> ApiKey | None:
        """The key with this id, if it is still in use."""
        return self.configured.with_id(key_id) or await self.store.with_id(key_id)


def always_required(settings: Settings, configured: ApiKeys) -> bool:
    """Whether requests need a key whatever Redis holds: a lost Redis must not open the service."""
    return bool(configured) or settings.require_keys == "on" or not only_this_machine(settings.host)
