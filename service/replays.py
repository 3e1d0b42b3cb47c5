"""Idempotency keys: a response that got lost never loses a secret.

For ten minutes the same caller gets the same secret again for the same key and the same request.
Meanwhile it is kept sealed (ChaCha20-Poly1305, RFC 8439) under a key that is made of the pepper,
the caller and the idempotency key itself: neither the database nor the process alone can open it.
"""

import json
import os
from dataclasses import asdict, dataclass, is_dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from service.access.actor import Actor
from service.access.door import as_uuid
from service.access.replays import claim_replay, find_replay
from service.access.system import system_forget_replays
from service.clock import new_id
from service.errors import IdempotencyConflict, InvalidInput
from service.settings import Settings
from service.verdict import CredentialKind
from service.work import Unit

KEPT = timedelta(minutes=10)
KEY_CHARACTERS_MIN = 8
KEY_CHARACTERS_MAX = 100
NONCE_BYTES = 12


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks for under an idempotency key.

    Attributes:
        key: 8–100 visible ASCII characters, new for each request and unguessable, as a UUIDv4 is.
        operation: The use case's name.
        wanted: Its input; another input under the same key is a conflict.
    """

    key: str
    operation: str
    wanted: Any

    def digest(self) -> bytes:
        """Return 32 bytes that stand for the operation and its input."""
        wanted = asdict(self.wanted) if is_dataclass(self.wanted) else self.wanted  # type: ignore[arg-type] # never a class
        text = json.dumps([self.operation, wanted], default=str, sort_keys=True)
        return blake2b(text.encode(), digest_size=32).digest()


@dataclass(frozen=True, slots=True)
class Replay:
    """What was made before under the same key."""

    token_id: UUID
    receipt_id: UUID | None
    secret: str

    def __repr__(self) -> str:
        return f"Replay({self.token_id})"


@dataclass(frozen=True, slots=True)
class Replays:
    """Seals new secrets, and opens them for whoever lost the answer."""

    settings: Settings

    async def claim(
        self, unit: Unit, actor: Actor, request: Request, token_id: UUID, secret: str
    ) -> Replay | None:
        """Take a key for a new secret, or return what was made under it before.

        Of several that ask at once with one key, one goes on and the others wait for it.

        Raises:
            InvalidInput: If the key has another form.
            IdempotencyConflict: If it was used for something else.
        """
        key = clean_key(request.key)
        principal = _principal(actor)
        key_digest = self._derive(principal, key, purpose="name")
        row = {
            "id": new_id(),
            "account_id": actor.account_id,
            "reseller_id": actor.reseller_id,
            "principal_id": principal,
            "key_digest": key_digest,
            "request_digest": request.digest(),
            "token_id": token_id,
            "receipt_id": unit.receipt_id,
            "sealed_secret": self._seal(principal, key, request, token_id, secret),
            "expires_at": unit.now + KEPT,
        }
        if await claim_replay(unit.door, row, now=unit.now):
            return None
        found = await find_replay(unit.door, principal, key_digest)
        if found is None or bytes(found["request_digest"]) != row["request_digest"]:
            raise IdempotencyConflict(field="idempotencyKey")
        made = as_uuid(found["token_id"])
        sealed = bytes(found["sealed_secret"])
        receipt_id = found["receipt_id"] and as_uuid(found["receipt_id"])
        return Replay(made, receipt_id, self._open(principal, key, request, made, sealed))

    async def forget_ended(self, now: datetime) -> None:
        """Delete what may no longer be opened. Harmless to repeat."""
        await system_forget_replays(now)

    def _seal(
        self, principal: UUID, key: str, request: Request, token_id: UUID, secret: str
    ) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        cipher = ChaCha20Poly1305(self._derive(principal, key, purpose="seal"))
        bound = request.digest() + token_id.bytes
        return nonce + cipher.encrypt(nonce, secret.encode(), bound)

    def _open(
        self, principal: UUID, key: str, request: Request, token_id: UUID, sealed: bytes
    ) -> str:
        cipher = ChaCha20Poly1305(self._derive(principal, key, purpose="seal"))
        bound = request.digest() + token_id.bytes
        try:
            opened = cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], bound)
        except (InvalidTag, ValueError):  # somebody wrote into the row
            raise IdempotencyConflict(field="idempotencyKey") from None
        return opened.decode()

    def _derive(self, principal: UUID, key: str, *, purpose: str) -> bytes:
        """Return 32 bytes for one purpose that only this caller's key leads to."""
        pepper = next(iter(self.settings.pepper_keys.values()))
        material = f"{purpose}:{principal}:{key}".encode()
        return blake2b(material, key=pepper, digest_size=32, person=b"tokenward-replay").digest()


def _principal(actor: Actor) -> UUID:
    """Return who asks: the person who is signed in, in whichever session, or the token."""
    if actor.kind is CredentialKind.SESSION and actor.member_id is not None:
        return actor.member_id
    return actor.token_id


def clean_key(key: str) -> str:
    """Return an idempotency key.

    Raises:
        InvalidInput: If it has another form.
    """
    if not KEY_CHARACTERS_MIN <= len(key) <= KEY_CHARACTERS_MAX or not (
        key.isascii() and key.isprintable() and " " not in key
    ):
        raise InvalidInput(
            f"A key has {KEY_CHARACTERS_MIN}–{KEY_CHARACTERS_MAX} visible ASCII characters.",
            field="idempotencyKey",
        )
    return key
