"""What every measurement starts from: settings, a full database, and how much to do."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
from factories import make_operator

from service.access.actor import Actor
from service.clock import new_id
from service.composition import Service
from service.secret_format import NewSecret, make_secret
from service.settings import Settings

TOKENS_PER_CUSTOMER = 10
CUSTOMERS_PER_RESELLER = 100
LEASE_SECONDS_MAX = 60.0
SCOPES = ["dns:read", "dns:write", "mail:read"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured.

    Attributes:
        records: Tokens in the database.
        hot_tokens: Those of them whose secrets are known.
        rounds: How often each rate is measured beside its bound.
        round_seconds: Of one round over HTTP; wrk knows whole ones only.
        checks: Checks of one round in process.
        connections: Requests at a time.
        validators: Sizes of fleets.
        revocations: Per fleet.
        database_seconds: How long the hot tokens are checked.
        fleets: Accounts of a small fleet and of a large one.
        pages: Of each fleet.
        listed: Tokens in a small and in a large table, out of which pages are read.
        list_rounds: Of 25 pages each.
        documents: How often one is sent in one round.
        creates: Tokens that are created through the API in one round.
        creators: Connections over which they are.
    """

    records: int = 100_000
    hot_tokens: int = 10_000
    rounds: int = 4
    round_seconds: float = 2
    checks: int = 100_000
    connections: int = 64
    validators: tuple[int, ...] = (1, 16, 100)
    revocations: int = 100
    database_seconds: float = 12.0
    fleets: tuple[int, int] = (10, 100_000)
    pages: int = 500
    listed: tuple[int, int] = (10_000, 1_000_000)
    list_rounds: int = 6
    documents: int = 500
    creates: int = 2_000
    creators: int = 16


SMALL = Sizes(
    records=40,
    hot_tokens=20,
    rounds=1,
    round_seconds=0.1,
    checks=200,
    connections=4,
    validators=(2,),
    revocations=2,
    database_seconds=0.3,
    fleets=(2, 12),
    pages=3,
    listed=(3_000, 3_100),
    list_rounds=1,
    documents=2,
    creates=8,
    creators=2,
)
"""Enough to see that everything runs, and for nothing else."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A platform full of tokens.

    Attributes:
        actor: The operator, whose reach is everything.
        secrets: Of the hot tokens.
        token_ids: As many.
        directory: For what the measurements write.
    """

    service: Service
    settings: Settings
    sizes: Sizes
    actor: Actor
    secrets: tuple[str, ...]
    token_ids: tuple[UUID, ...]
    directory: Path

    @property
    def owner_url(self) -> str:
        """The database as the owner of its tables sees it."""
        return self.settings.database_owner_url.get_secret_value()

    def environment(self, **changes: object) -> dict[str, str]:
        """Return what a process of the product is given."""
        given: dict[str, object] = {
            "environment": self.settings.environment,
            "database_url": self.settings.database_url.get_secret_value(),
            "redis_url": self.settings.redis_url.get_secret_value(),
            "broker_url": self.settings.broker_url.get_secret_value(),
            "log_level": "WARNING",
        }
        named = {f"TOKENWARD_{name.upper()}": str(value) for name, value in given.items()}
        changed = {f"TOKENWARD_{name.upper()}": str(value) for name, value in changes.items()}
        # Nothing else is handed on: coverage in the children would be measured too.
        return {"PATH": os.defpath} | named | changed


async def make_scene(
    service: Service, owner: asyncpg.Connection, directory: Path, sizes: Sizes
) -> Scene:
    """Fill an empty database; the many rows go around the use cases, to be there in seconds."""
    actor = await make_operator(service)
    now = service.clock.now()
    rows = sizes.records
    secrets = [
        make_secret(service.settings.token_label, service.settings.pepper_keys)
        for _ in range(sizes.hot_tokens)
    ]
    customers = await _insert_accounts(owner, rows // TOKENS_PER_CUSTOMER or 1, now)
    tokens = [
        (new_id(), *customers[number // TOKENS_PER_CUSTOMER % len(customers)])
        for number in range(rows)
    ]
    await owner.copy_records_to_table(
        "api_token",
        columns=(
            *("id", "account_id", "reseller_id", "kind", "name", "scopes", "allowed_ip_ranges"),
            *("audiences", "created_at", "expires_at", "version"),
        ),
        records=(
            (
                *token,
                "API_TOKEN",
                f"token {number}",
                SCOPES,
                [],
                [],
                now,
                now + timedelta(days=30),
                1,
            )
            for number, token in enumerate(tokens)
        ),
    )
    await owner.copy_records_to_table(
        "secret",
        columns=(
            *("id", "token_id", "account_id", "reseller_id", "digest", "pepper_id", "prefix"),
            *("last_four", "created_at"),
        ),
        records=(
            (new_id(), *token, *columns, now)
            for token, columns in zip(tokens, _secret_columns(secrets, rows), strict=True)
        ),
    )
    await owner.execute("ANALYZE")
    hot = tokens[: sizes.hot_tokens]
    return Scene(
        service,
        service.settings,
        sizes,
        actor,
        tuple(secret.text for secret in secrets),
        tuple(token_id for token_id, _, _ in hot),
        directory,
    )


def _secret_columns(secrets: list[NewSecret], rows: int) -> Iterable[tuple[bytes, int, str, str]]:
    for secret in secrets:
        yield secret.digest, secret.pepper_id, secret.prefix, secret.last_four
    for _ in range(rows - len(secrets)):
        # Nobody shall know what is behind these: making a secret takes longer than its row.
        yield os.urandom(32), secrets[0].pepper_id, secrets[0].prefix, "0000"


async def _insert_accounts(
    owner: asyncpg.Connection, count: int, now: object
) -> list[tuple[UUID, UUID]]:
    """Insert resellers and customers; return each customer with its reseller."""
    resellers = [new_id() for _ in range(count // CUSTOMERS_PER_RESELLER or 1)]
    customers = [(new_id(), resellers[number % len(resellers)]) for number in range(count)]
    rows = [(reseller, "RESELLER", reseller) for reseller in resellers]
    rows += [(customer, "CUSTOMER", reseller) for customer, reseller in customers]
    await owner.copy_records_to_table(
        "account",
        columns=("id", "kind", "reseller_id", "name", "grantable_scopes", "created_at"),
        records=((*row, f"Account {number}", ["*"], now) for number, row in enumerate(rows)),
    )
    return customers
