"""What whoever holds a secret may do without being anybody: end it, and only that."""

from collections.abc import Iterable
from dataclasses import dataclass

from service.access.actor import EVERYTHING
from service.access.door import as_uuid
from service.access.holders import system_revoke_held
from service.addresses import counted_as
from service.cache import Drop
from service.errors import TooManyAttempts
from service.secret_format import digest_of, is_well_formed
from service.settings import Settings
from service.throttle import Limit, Throttle
from service.tokens import RevocationReason
from service.verdict import CredentialKind
from service.work import Work

CALLS_MAX = 60
CALLS_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Holders:
    """Those who hold secrets: their owners, and whoever found one where it should not be."""

    work: Work
    throttle: Throttle
    settings: Settings

    async def revoke(
        self,
        secrets: Iterable[str],
        *,
        reason: RevocationReason,
        address: str | None,
        request_id: str | None,
    ) -> None:
        """End what live secrets open, all or nothing; a session's secret ends the session.

        Nothing is told of which were known. What has ended stays as it is, and a secret that a
        rotation has retired ends nothing. Harmless to repeat.

        Args:
            secrets: Anything at all; what is no secret costs no look-up.
            reason: Why, for the trail.
            address: The caller's; it is what is counted.
            request_id: For the trail.

        Raises:
            TooManyAttempts: If the address has called too often.
            Unavailable: If the database cannot be reached. Unless that happened at the commit,
                nothing was revoked: repeat it.
        """
        limit = Limit(f"revoke:{counted_as(address)}", CALLS_MAX, CALLS_SECONDS)
        if not await self.throttle.count([limit]):
            raise TooManyAttempts
        digests = self._digests(secrets)
        if not digests:
            return
        told = {"reason": reason.value, "by": "holder", "address": address}
        async with self.work.begin(EVERYTHING, None) as unit:
            rows = await system_revoke_held(unit.door, digests, reason=reason.value, now=unit.now)
            for row in rows:
                owner = (as_uuid(row["account_id"]), row["reseller_id"])
                is_session = row["kind"] == CredentialKind.SESSION
                action = "session.ended" if is_session else "token.revoked"
                unit.audit(action, as_uuid(row["id"]), owner, **told, request_id=request_id)
                for digest in row["digests"]:
                    unit.drop(Drop.of_secret(bytes(digest)), owner)

    def _digests(self, secrets: Iterable[str]) -> list[bytes]:
        """Return each digest that a well-formed secret may be stored under, once."""
        found = {
            digest_of(secret, pepper)
            for secret in secrets
            if is_well_formed(secret)
            for pepper in self.settings.pepper_keys.values()
        }
        return sorted(found)
