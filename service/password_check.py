"""Whether a password is somebody's: in the same time for everybody, and not too often."""

from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

from service.access.door import as_uuid
from service.access.members import Member
from service.access.system import system_find_member, system_update_password_hash
from service.addresses import counted_as
from service.errors import InvalidInput, SignInFailed
from service.names import clean_email
from service.passwords import Passwords
from service.refusals import Refusals
from service.settings import Settings
from service.throttle import Limit, Throttle

THROTTLE_SECONDS = 15 * 60
FROM_ANYWHERE_FACTOR = 10


@dataclass(frozen=True, slots=True)
class Checked:
    """Whose password it was at a moment.

    Attributes:
        password_version: Which of their passwords it was; by this a later one is told apart.
    """

    member_id: UUID
    password_version: int

    def still_holds(self, member: Member) -> bool:
        """Return whether the member, held in a transaction, has that password and may use it."""
        return member.disabled_at is None and member.password_version == self.password_version


@dataclass(frozen=True, slots=True)
class PasswordCheck:
    """Checks passwords; every way to try one counts against the same limits."""

    passwords: Passwords
    throttle: Throttle
    settings: Settings
    refusals: Refusals

    async def check(
        self, email: str, password: str, *, address: str | None, request_id: str | None
    ) -> Checked:
        """Return whose password it is.

        A change of it can overtake the answer: what is begun on its strength holds the member and
        asks :meth:`Checked.still_holds`.

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
        known = member["password_hash"] if member else None
        right, rehashed = await self.passwords.verify(password, known)
        if member is None or not right or not member["may_sign_in"]:
            await self.throttle.count(limits)
            self.refusals.tell_sign_in(email, address=address, request_id=request_id)
            raise SignInFailed
        member_id = as_uuid(member["id"])
        if known and rehashed:
            await system_update_password_hash(member_id, known, rehashed)
        return Checked(member_id, int(member["password_version"]))

    def _limits(self, email: str, address: str | None) -> tuple[Limit, ...]:
        """Return how often a password may be wrong.

        The narrow limit is per account *and* client address, so that a stranger who guesses at
        somebody's password does not lock them out; ten times as many from anywhere pause the
        account, and an address has a limit of its own. Where nothing is counted, the hashing
        threads still bound the rate.
        """
        who, place = name_of(email), counted_as(address)
        attempts = self.settings.sign_in_attempts
        return (
            Limit(f"sign-in:{who}:{place}", attempts, THROTTLE_SECONDS),
            Limit(f"sign-in:{who}", attempts * FROM_ANYWHERE_FACTOR, THROTTLE_SECONDS),
            Limit(
                f"sign-in::{place}", self.settings.sign_in_attempts_per_address, THROTTLE_SECONDS
            ),
        )


def name_of(email: str) -> str:
    """Return under which name an e-mail address is counted: Redis never learns it."""
    return blake2b(email.encode(), digest_size=12).hexdigest()
