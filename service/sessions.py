"""People signing in and out. A session is a credential like any other, short-lived."""

from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import Any

from service.access.actor import EVERYTHING, Actor
from service.access.door import as_uuid
from service.access.secrets import digests_of_token
from service.access.system import system_find_member, system_update_password_hash
from service.access.tokens import end_session, insert_token
from service.addresses import counted_as
from service.cache import Drop
from service.clock import new_id
from service.errors import InvalidInput, SignInFailed
from service.names import clean_email
from service.passwords import Passwords
from service.secret_format import NewSecret, make_secret
from service.settings import Settings
from service.throttle import Limit, Throttle
from service.verdict import CredentialKind
from service.work import Work

THROTTLE_SECONDS = 15 * 60
FROM_ANYWHERE_FACTOR = 10


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A new session; the secret is for the cookie or the client alone."""

    secret: NewSecret
    lifetime_seconds: int


@dataclass(frozen=True, slots=True)
class Sessions:
    """Begins and ends sessions."""

    work: Work
    passwords: Passwords
    throttle: Throttle
    settings: Settings

    async def sign_in(
        self, email: str, password: str, *, address: str | None, request_id: str | None
    ) -> SignedIn:
        """Begin a session.

        Raises:
            SignInFailed: If the two do not belong together, or the account may not sign in; an
                unknown address takes as long as a wrong password and reads the same.
            TooManyAttempts: If too many have failed lately.
        """
        try:
            email = clean_email(email)
        except InvalidInput:
            raise SignInFailed from None
        limits = self._limits(email, address)
        await self.throttle.check(limits)
        member = await system_find_member(email)
        known = str(member["password_hash"]) if member else None
        right, rehashed = await self.passwords.verify(password, known)
        if member is None or not right or not member["may_sign_in"]:
            await self.throttle.count(limits)
            raise SignInFailed
        if known and rehashed:
            await system_update_password_hash(as_uuid(member["id"]), known, rehashed)
        return await self._begin(member, address=address, request_id=request_id)

    async def sign_out(self, actor: Actor) -> None:
        """End the session that the actor used. Harmless to repeat; a token is left alone."""
        if actor.kind is not CredentialKind.SESSION:
            return
        async with self.work.begin(actor.reach, actor) as unit:
            if await end_session(unit.door, actor.token_id, now=unit.now):
                owner = (actor.account_id, actor.reseller_id)
                unit.audit("session.ended", actor.token_id, owner)
                for digest in await digests_of_token(unit.door, actor.token_id):
                    unit.drop(Drop.of_secret(digest), owner)

    def _limits(self, email: str, address: str | None) -> tuple[Limit, ...]:
        """Return how often a sign-in may fail.

        The narrow limit is per account *and* client address, so that a stranger who guesses at
        somebody's password does not lock them out; ten times as many from anywhere pause the
        account, and an address has a limit of its own. Where nothing is counted, the hashing
        threads still bound the rate.
        """
        who = blake2b(email.encode(), digest_size=12).hexdigest()
        place = counted_as(address)
        attempts = self.settings.sign_in_attempts
        return (
            Limit(f"sign-in:{who}:{place}", attempts, THROTTLE_SECONDS),
            Limit(f"sign-in:{who}", attempts * FROM_ANYWHERE_FACTOR, THROTTLE_SECONDS),
            Limit(
                f"sign-in::{place}", self.settings.sign_in_attempts_per_address, THROTTLE_SECONDS
            ),
        )

    async def _begin(
        self, member: dict[str, Any], *, address: str | None, request_id: str | None
    ) -> SignedIn:
        lifetime = timedelta(hours=self.settings.session_hours)
        secret = make_secret(self.settings.token_label, self.settings.pepper_keys, session=True)
        async with self.work.begin(EVERYTHING, None) as unit:
            session_id = new_id()
            row = {
                "id": session_id,
                "account_id": member["account_id"],
                "reseller_id": member["reseller_id"],
                "kind": CredentialKind.SESSION.value,
                "member_id": member["id"],
                "name": "Session",
                "scopes": ["*"],
                "allowed_ip_ranges": [],
                "created_at": unit.now,
                "expires_at": unit.now + lifetime,
                "version": 1,
            }
            await insert_token(unit.door, row, secret, new_id())
            owner = (as_uuid(member["account_id"]), member["reseller_id"])
            unit.audit(
                "session.begun",
                session_id,
                owner,
                member_id=member["id"],
                address=address,
                request_id=request_id,
            )
        return SignedIn(secret, int(lifetime.total_seconds()))
