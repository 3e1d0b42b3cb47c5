"""What is secret is in no file, no log, no e-mail and no message, in no spelling."""

import base64
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote, quote_plus, urlsplit
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from system import PASSWORD, Person, System, echoing, eventually, opened_system

from service.clock import SystemClock
from service.local import postgres_files

TASKS = (
    "relay_revocations",
    "flush_usage",
    "sweep_expired_tokens",
    "complete_rotations",
    "send_expiry_notices",
)


def spellings(secret: str) -> set[bytes]:
    """Return the forms in which a text may hide in other bytes."""
    raw = secret.encode()
    forms = {raw, quote(secret, safe="").encode(), quote_plus(secret).encode()}
    forms |= {"".join(f"%{byte:02X}" for byte in raw).encode()}
    forms |= {raw.hex().encode(), raw.hex().upper().encode()}
    for shift in range(3):
        # The first and the last characters depend on the neighbours; what lies between does not.
        start, end = -(-shift * 8 // 6), (shift + len(raw)) * 8 // 6
        encoded = base64.b64encode(bytes(shift) + raw)[start:end]
        forms |= {encoded, encoded.translate(bytes.maketrans(b"+/", b"-_"))}
    return forms


@dataclass(frozen=True)
class Places:
    """Where a secret might have been left: names and contents."""

    contents: Mapping[str, list[bytes]]

    def holding(self, text: str) -> set[str]:
        """Return the names of the places that hold a text, in any spelling."""
        return {
            name
            for name, contents in self.contents.items()
            if any(form in content for form in spellings(text) for content in contents)
        }


@dataclass(frozen=True)
class Story:
    """A run of the whole system, what was secret in it and what was left of it."""

    secrets: Mapping[str, str]
    canary: str
    places: Places


@pytest.fixture(scope="module")
async def story(
    addresses: list[str], tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> AsyncIterator[Story]:
    pepper = token_hex(32)
    canary = f"canary{token_hex(8)}"
    directory = tmp_path_factory.mktemp("secrets")
    settings = {"peppers": f"1:{pepper}", "log_level": "DEBUG"}
    with echoing() as upstream:
        async with opened_system(
            addresses, directory, f"secrets_{worker_id}", **settings
        ) as system:
            system.start_all()
            system.start_nginx(upstream)
            await eventually(system.is_whole)
            secrets = {"pepper": pepper, "password": PASSWORD, **await live(system, canary)}
            for name in ("database_url", "redis_url"):
                address = urlsplit(system.environment[f"TOKENWARD_{name.upper()}"])
                secrets[f"password of the {name}"] = address.password or ""
            queued = await queue(system, canary)
            system.stop_all()
            stored = await persist(system, canary)
            yield Story(secrets, canary, await look(system, addresses, queued | stored))


async def live(system: System, canary: str) -> dict[str, str]:
    """Use every door that a secret goes through; return the secrets."""
    operator = await system.create_operator("operator@example.com")
    customer = await operator.create_account("CUSTOMER", "customer@example.com")
    crosses_at = SystemClock().now() + timedelta(seconds=1)
    token_id, secret = await customer.create_token(
        crosses_at + timedelta(days=1), "dns:read", "tokens:*"
    )
    await customer.run(
        "mutation ($input: RenameTokenInput!) {"
        " renameToken(input: $input) { token { id } userErrors { code } } }",
        input={"id": token_id, "name": canary},
    )
    bearer = {"Authorization": f"Bearer {secret}"}
    assert (await system.call(secret)).status_code == 200
    assert (await system.http.get(f"{system.edge}/{canary}", headers=bearer)).status_code == 404
    told = await system.http.post(
        f"{system.edge}/introspect", headers=bearer, data={"token": secret}
    )
    assert told.json()["active"] is True
    await make_mistakes(system, secret)
    replayed = await lose_answers(system, customer)
    system.send("sweep_expired_tokens", task_id=canary)
    await eventually(partial(is_told, system))
    _, revoked = await customer.create_token(crosses_at + timedelta(days=90))
    await system.call(revoked)
    await customer.change("revokeToken", token_id)
    await eventually(partial(system.is_refused, secret))
    return {
        "token": secret,
        "other token": revoked,
        "session": str(customer.secret),
        "operator's session": str(operator.secret),
        **replayed,
    }


async def lose_answers(system: System, customer: Person) -> dict[str, str]:
    """Have secrets told a second time under their keys; return them all, and the keys."""
    expires_at = (SystemClock().now() + timedelta(days=90)).isoformat()
    key, other_key = str(uuid4()), str(uuid4())
    create = {
        "name": "kept",
        "scopes": ["dns:read"],
        "expiresAt": expires_at,
        "idempotencyKey": key,
    }
    query = (
        "mutation ($input: CreateTokenInput!) {"
        " createToken(input: $input) { token { id } secret isReplay userErrors { code } } }"
    )
    made = await customer.run(query, input=create)
    assert await customer.run(query, input=create) == made | {"isReplay": True}
    with pytest.raises(AssertionError, match="IDEMPOTENCY_CONFLICT"):
        await customer.run(query, input=create | {"name": "another"})
    rotate = {"id": made["token"]["id"], "gracePeriodSeconds": 0, "idempotencyKey": other_key}
    query = (
        "mutation ($input: RotateTokenInput!) {"
        " rotateToken(input: $input) { secret isReplay userErrors { code } } }"
    )
    rotated = await customer.run(query, input=rotate)
    assert await customer.run(query, input=rotate) == rotated | {"isReplay": True}
    await eventually(partial(system.is_refused, made["secret"]))
    assert (await system.call(rotated["secret"])).status_code == 200
    return {
        "secret that was rotated away": made["secret"],
        "secret of a rotation": rotated["secret"],
        "idempotency key": key,
        "other idempotency key": other_key,
    }


async def make_mistakes(system: System, secret: str) -> None:
    """Send secrets where they are refused, so that a refusal could quote them."""
    graphql = f"{system.edge}/graphql"
    for query in (
        f'mutation {{ signIn(input: {{email: "a", passwort: "{PASSWORD}"}}) {{ x }} }}',
        f'mutation {{ signIn(input: {{email: "a", password: "{PASSWORD}"}}) {{ sessionSecret }} }}',
        f'{{ token(id: "{secret}") {{ id }} }}',
        f"{{ {secret} }}",
    ):
        assert (await system.http.post(graphql, json={"query": query})).status_code in {200, 400}
    await system.http.post(graphql, content=f"{{{secret}")
    await system.http.get(f"{system.web}/validate", params={"scope": secret})
    await system.http.get(f"{system.web}/graphql", headers={"Cookie": f"tokenward={secret}"})


async def is_told(system: System) -> bool:
    system.send("send_expiry_notices", "flush_usage")
    return bool(await system.mails())


async def queue(system: System, canary: str) -> dict[str, list[bytes]]:
    """Let messages wait for a worker that is not there, and return what waits."""
    system.stop("worker")
    system.stop("beat")
    system.send(*TASKS, task_id=canary)
    async with Redis.from_url(system.broker_url) as broker:
        await broker.config_set("rdbcompression", "no")  # or a long text would be cut in pieces
        assert await broker.llen("tokenward") >= len(TASKS)
        return {"messages": [await broker.dump(key) or b"" for key in await broker.keys("*")]}


async def persist(system: System, canary: str) -> dict[str, list[bytes]]:
    """Make Valkey and PostgreSQL write down all they know, and return what Valkey wrote."""
    async with Redis.from_url(system.valkey.url) as cache:
        await cache.set("canary", canary)
        assert [key async for key in cache.scan_iter("tk:*")]
        await cache.save()
    system.valkey.stop()
    await system.database.execute("CHECKPOINT")
    directory = system.valkey.directory
    return {
        "dump of the cache": [(directory / "dump.rdb").read_bytes()],
        "journal of the cache": list(read(directory / "appendonlydir")),
    }


async def look(system: System, addresses: list[str], kept: Mapping[str, list[bytes]]) -> Places:
    """Gather every place."""
    servers = Path(addresses[3])
    data = postgres_files.home(servers / "postgres") / "data"
    oid = await system.database.fetchval(
        "SELECT oid FROM pg_database WHERE datname = current_database()"
    )
    contents = {
        "tables": list(read(data / "base" / str(oid))),
        "write-ahead log": list(read(data / "pg_wal")),
        "e-mails": list(read(system.directory / "mails")),
        "log of PostgreSQL": list(read(servers / "postgres", "*.log")),
        "log of Valkey": list(read(system.valkey.directory, "*.log")),
        **kept,
    }
    for name in ("web", "worker", "beat", "mail", "nginx"):
        contents[f"log of {name}"] = [system.log(name).read_bytes()]
    return Places(contents)


def read(directory: Path, pattern: str = "*") -> Iterator[bytes]:
    for path in directory.rglob(pattern):
        with suppress(FileNotFoundError, IsADirectoryError):  # other tests drop their tables
            yield path.read_bytes()


@pytest.mark.needs("nginx")
async def test_no_secret_is_left_anywhere(story: Story) -> None:
    found = {name: story.places.holding(secret) for name, secret in story.secrets.items()}

    assert found == {name: set() for name in story.secrets}
    assert all(len(secret) >= len(PASSWORD) for secret in story.secrets.values())


@pytest.mark.needs("nginx")
async def test_the_same_search_finds_what_is_no_secret(story: Story) -> None:
    everywhere = set(story.places.contents)
    silent = {"log of PostgreSQL", "log of Valkey", "log of mail", "log of beat"}

    assert story.places.holding(story.canary) == everywhere - silent
    assert "log of beat" in story.places.holding("relay_revocations")
    assert "log of Valkey" in story.places.holding("Ready to accept connections")
    assert "log of PostgreSQL" in story.places.holding("checkpoint")


@pytest.mark.parametrize("before", [b"", b"a", b"ab"])
@pytest.mark.parametrize("after", [b"", b"a", b"ab"])
@pytest.mark.parametrize("secret", ["tw_live_0123456789", "a pass/word?~~"])
def test_the_search_knows_every_spelling(before: bytes, after: bytes, secret: str) -> None:
    whole = before + secret.encode() + after
    written = [
        whole,
        base64.b64encode(whole),
        base64.urlsafe_b64encode(whole),
        whole.hex().encode(),
        whole.hex().upper().encode(),
        quote(whole, safe="").encode(),
        quote_plus(whole).encode(),
    ]

    places = Places({str(number): [content] for number, content in enumerate(written)})

    assert places.holding(secret) == {str(number) for number in range(len(written))}
    assert places.holding(f"{secret[:-1]}X") == set()
