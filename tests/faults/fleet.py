"""What the owner owns while a campaign runs: accounts, their tokens, and suspensions."""

import random
from dataclasses import dataclass, field

from api import Api
from changes import CREATED_MEANWHILE, SUSPEND_ACCOUNT, SUSPEND_RESELLER
from evidence import FOREVER, Account, Token
from stack import Stack

from service.clock import boottime

WARM_SECONDS = 0.6


@dataclass
class Suspension:
    """A suspension, from before it is sent to the answer of its end.

    Attributes:
        tokens: What it refuses and its end gives back.
        known_at: When the owner knew of it; None before.
    """

    account: Account
    tokens: list[Token] = field(default_factory=list)
    known_at: float | None = None

    @property
    def change(self) -> str:
        """What it is called in the result."""
        has_customers = any(token.account is not self.account for token in self.tokens)
        return SUSPEND_RESELLER if has_customers else SUSPEND_ACCOUNT

    def know(self, at: float) -> None:
        """Note that the owner knows of it."""
        self.known_at = at
        for token in self.tokens:
            token.refuse(self.change if token.lives else CREATED_MEANWHILE, at)


class Fleet:
    """Accounts and tokens, and which of them must work.

    Args:
        stack: Whose checkers are told what to watch.
        random_source: Seeded.
    """

    def __init__(self, stack: Stack, random_source: random.Random) -> None:
        self._stack = stack
        self._random = random_source
        self._accounts: list[Account] = []
        self._suspensions: list[Suspension] = []
        self.tokens: dict[str, Token] = {}

    async def open(self, api: Api) -> None:
        """Create two customers of the operator's, and a reseller with two."""
        customers = [await api.create_account(f"customer-{number}") for number in range(2)]
        reseller = await api.create_account("reseller", "RESELLER")
        customers += [await api.create_account(f"sub-{number}", above=reseller) for number in "ab"]
        self._accounts = [*customers, reseller]

    def begin(self) -> None:
        """Count from here on: what came before was the start of a dozen processes at once."""
        for token in self.tokens.values():
            token.lives = [(boottime(), FOREVER)]

    @property
    def live(self) -> list[Token]:
        """The tokens that must work."""
        return [token for token in self.tokens.values() if token.is_live]

    @property
    def ended(self) -> list[Token]:
        """The tokens that must be refused."""
        return [token for token in self.tokens.values() if token.is_ended]

    def home(self) -> Account | None:
        """Return a customer, for a new token, that nobody suspends now."""
        customers = [account for account in self._unsuspended() if self._may_have_tokens(account)]
        return self._random.choice(customers) if customers else None

    def home_below(self, account: Account) -> Account:
        """Return a customer whom the suspension of an account refuses."""
        below = [other for other in self._accounts if other.above is account]
        return self._random.choice(below) if below else account

    def add(self, token: Token) -> None:
        """Take a token whose secret has just been told, and have it watched."""
        self.tokens[token.name] = token
        self.begin_life(token)
        self.tell("+", token)

    def begin_life(self, token: Token) -> None:
        """Note that a token works from now on, unless its account is being suspended."""
        for suspension in self._suspensions:
            if suspension.account in token.account.chain:
                suspension.tokens.append(token)
                if suspension.known_at is not None:
                    token.refuse(CREATED_MEANWHILE, boottime())
                return
        token.lives.append((boottime(), FOREVER))

    def take(self) -> Token | None:
        """Take a token that the checkers know by now, to change it; its life ends here."""
        now = boottime()
        warm = [token for token in self.live if token.lives[-1][0] < now - WARM_SECONDS]
        if not warm:
            return None
        token = self._random.choice(warm)
        token.end_life(now)
        return token

    def outlive(self, token: Token, *, seconds: float) -> None:
        """Note that a token which was just taken must still work for a while."""
        began_at, _ = token.lives[-1]
        token.lives[-1] = (began_at, boottime() + seconds)

    def suspendable(self, *, reseller: bool) -> Account | None:
        """Return an account with live tokens, of which no part is suspended."""
        owners = {account for token in self.live for account in token.account.chain}
        found = [
            account
            for account in self._unsuspended()
            if account in owners and self._may_have_tokens(account) is not reseller
        ]
        return self._random.choice(found) if found else None

    def suspend(self, account: Account) -> Suspension:
        """Note that a suspension is about to be sent: from then on either answer is right."""
        suspension = Suspension(account, [t for t in self.live if account in t.account.chain])
        now = boottime()
        for token in self.tokens.values():
            if account in token.account.chain:
                token.end_life(now)
        self._suspensions.append(suspension)
        return suspension

    def resume(self, suspension: Suspension) -> None:
        """Note that the end of a suspension is about to be sent."""
        suspension.known_at = None
        for token in suspension.tokens:
            token.give_back(boottime())

    def end(self, suspension: Suspension, *, works_from: float) -> None:
        """Note that a suspension is over."""
        self._suspensions.remove(suspension)
        for token in suspension.tokens:
            # An earlier end may not have come everywhere yet.
            earliest = max((began_at for began_at, _ in token.lives), default=0.0)
            token.lives.append((max(works_from, earliest), FOREVER))

    def tell(self, sign: str, token: Token) -> None:
        """Have the checkers begin or end to watch a token."""
        with self._stack.tokens.open("a") as file:
            file.write(f"{sign} {token.name} {token.secret}\n")

    def _unsuspended(self) -> list[Account]:
        held = {suspension.account for suspension in self._suspensions}
        above = {account.above for account in held}
        return [
            account
            for account in self._accounts
            if account not in above and not held.intersection(account.chain)
        ]

    def _may_have_tokens(self, account: Account) -> bool:
        return all(other.above is not account for other in self._accounts)
