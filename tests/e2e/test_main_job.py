"""The main job of the whole system, through its real doors: GraphQL, nginx, the broker, SMTP."""

import signal
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from functools import partial

import pytest
from live_scene import opened_live
from system import Person, System, echoing, eventually, opened_system

from schema import node_ids
from schema.live_messages import FORBIDDEN
from service.clock import SystemClock, boottime
from service.settings import read_settings

pytestmark = pytest.mark.needs("nginx")

BOUND_SECONDS = read_settings().staleness_bound_seconds

Record = Callable[[str, object], None]


@pytest.fixture(scope="module")
async def system(
    addresses: list[str], tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> AsyncIterator[System]:
    directory = tmp_path_factory.mktemp("system")
    with echoing() as upstream:
        async with opened_system(addresses, directory, f"e2e_{worker_id}") as system:
            system.start_all()
            system.start_nginx(upstream)
            await eventually(system.is_whole)
            yield system


@pytest.fixture(scope="module")
async def customer(system: System) -> Person:
    """A customer of a reseller, made from nothing as an operator makes it."""
    operator = await system.create_operator("operator@example.com")
    reseller = await operator.create_account("RESELLER", "reseller@example.com")
    return await reseller.create_account("CUSTOMER", "customer@example.com")


def after(**span: float) -> datetime:
    return SystemClock().now() + timedelta(**span)


async def test_a_token_opens_what_its_scopes_allow_and_its_identity_arrives(
    system: System, customer: Person
) -> None:
    token_id, secret = await customer.create_token(after(days=90), "dns:read", "files:*")

    answer = await system.call(secret)

    assert answer.status_code == 200
    seen = answer.json()
    account = await system.database.fetchval(
        "SELECT account_id FROM member WHERE email = 'customer@example.com'"
    )
    assert seen["x-tokenward-account"] == str(account)
    assert seen["x-tokenward-scopes"] == "dns:read files:*"
    token = await system.database.fetchval("SELECT id FROM api_token WHERE kind = 'API_TOKEN'")
    assert seen["x-tokenward-token"] == str(token)
    assert "authorization" not in seen
    assert secret not in answer.text
    assert (await system.call(secret, "/mail/boxes")).status_code == 403
    assert (await system.http.get(f"{system.edge}/dns/zones")).status_code == 401

    await customer.run(
        "mutation ($input: RenameTokenInput!) {"
        " renameToken(input: $input) { token { id } userErrors { code } } }",
        input={"id": token_id, "name": "another name"},
    )

    assert (await customer.token(token_id))["name"] == "another name"
    assert (await system.call(secret)).json()["x-tokenward-scopes"] == "dns:read files:*"


async def test_what_happens_is_told_through_the_proxy_until_the_credential_ends(
    system: System, customer: Person
) -> None:
    watch_id, watcher = await customer.create_token(after(days=90), "tokens:read")
    async with opened_live(system.edge) as live:
        assert await live.init(watcher) == {"type": "connection_ack"}
        await live.subscribe("subscription { tokenEvents { event { action } } }")
        begun = await live.hear()

        await customer.create_token(after(days=90))
        told = await live.hear()
        await customer.change("revokeToken", watch_id)
        code, _ = await live.end()

    assert begun["payload"]["data"]["tokenEvents"]["event"] is None
    assert told["payload"]["data"]["tokenEvents"]["event"]["action"] == "token.created"
    assert code == FORBIDDEN


async def test_a_revoked_token_is_refused_within_the_published_bound(
    system: System, customer: Person, record_property: Record
) -> None:
    token_id, secret = await customer.create_token(after(days=90))
    assert (await system.call(secret)).status_code == 200

    receipt = await customer.change("revokeToken", token_id)
    revoked_at = boottime()
    await eventually(lambda: system.is_refused(secret), BOUND_SECONDS)

    record_property("seconds_until_refused", round(boottime() - revoked_at, 3))
    assert receipt["state"] in {"CONFIRMED", "APPLIED"}  # as far as the reports have come
    assert (await customer.token(token_id))["status"] == "REVOKED"
    assert (
        'error_description="the token is revoked"'
        in ((await system.call(secret)).headers["WWW-Authenticate"])
    )


async def test_a_suspended_token_is_refused_until_it_is_resumed(
    system: System, customer: Person
) -> None:
    token_id, secret = await customer.create_token(after(days=90))
    assert (await system.call(secret)).status_code == 200

    await customer.change("suspendToken", token_id)
    await eventually(lambda: system.is_refused(secret), BOUND_SECONDS)
    assert (await customer.token(token_id))["status"] == "SUSPENDED"
    await customer.change("resumeToken", token_id)

    await eventually(partial(accepted, system, secret), BOUND_SECONDS)
    assert (await customer.token(token_id))["status"] == "ACTIVE"


async def accepted(system: System, secret: str) -> bool:
    return (await system.call(secret)).status_code == 200


async def test_a_token_ends_at_its_instant_and_is_swept(system: System, customer: Person) -> None:
    ends_at = after(seconds=2)
    token_id, secret = await customer.create_token(ends_at)
    calls_before = 0

    while (asked_at := after()) < ends_at:
        status = (await system.call(secret)).status_code
        if after() < ends_at:
            assert status == 200
            calls_before += 1

    assert asked_at >= ends_at
    assert (await system.call(secret)).status_code == 401
    assert calls_before > 10
    assert (await customer.token(token_id))["status"] == "EXPIRED"
    token = node_ids.decode(node_ids.TOKEN, token_id)
    system.send("sweep_expired_tokens")
    await eventually(
        lambda: system.database.fetchval("SELECT swept_at FROM api_token WHERE id = $1", token)
    )
    assert (await customer.token(token_id))["status"] == "EXPIRED"
    events = await system.database.fetch(
        "SELECT action FROM audit_event WHERE subject_id = $1 ORDER BY occurred_at", token
    )
    assert [event["action"] for event in events] == ["token.created", "token.expired"]


async def test_people_are_told_once_of_an_expiry_by_three_runs_at_once(
    system: System, customer: Person
) -> None:
    crosses_at = after(seconds=1)
    await customer.create_token(crosses_at + timedelta(days=1))
    await eventually(partial(is_past, crosses_at))
    before = system.finished("send_expiry_notices")

    async with system.database.transaction():
        # Held up at the ledger until all three are there.
        await system.database.execute("LOCK TABLE notice IN ACCESS EXCLUSIVE MODE")
        system.send(*["send_expiry_notices"] * 3)
        await eventually(partial(are_held_up, system, 3))
    await eventually(partial(has_finished, system, "send_expiry_notices", before + 3))

    [mail] = await system.mails()
    assert mail["to"] == "customer@example.com"
    assert mail["subject"] == "1 API token expires soon"
    assert "in 24 hours" in str(mail["text"])
    rows = await system.database.fetch("SELECT state, threshold_days FROM notice")
    assert [tuple(row) for row in rows] == [("SENT", 1)]


async def are_held_up(system: System, runs: int) -> bool:
    waiting = await system.database.fetchval(
        "SELECT count(DISTINCT pid) FROM pg_locks"
        " WHERE NOT granted AND relation = 'notice'::regclass"
    )
    return bool(waiting == runs)


async def is_past(instant: datetime) -> bool:
    return after() > instant


async def has_finished(system: System, task: str, times: int) -> bool:
    return system.finished(task) >= times


async def test_the_last_use_is_told(system: System, customer: Person) -> None:
    token_id, secret = await customer.create_token(after(days=90))
    assert (await customer.token(token_id))["lastUsedAt"] is None
    used_at = after()
    await system.call(secret)

    async def is_told() -> bool:
        system.send("flush_usage")
        return (await customer.token(token_id))["lastUsedAt"] is not None

    await eventually(is_told)

    told = await customer.token(token_id)
    assert abs(datetime.fromisoformat(told["lastUsedAt"]) - used_at) < timedelta(seconds=5)
    assert told["lastUsedAddress"] == "127.0.0.1"


async def test_a_worker_that_is_killed_is_replaced_by_another(
    system: System, customer: Person
) -> None:
    ends_at = after(seconds=1)
    token_id, _ = await customer.create_token(ends_at)
    system.stop("worker", signal.SIGKILL)
    await eventually(partial(is_past, ends_at))
    system.send("sweep_expired_tokens")

    system.start("worker")

    token = node_ids.decode(node_ids.TOKEN, token_id)
    await eventually(
        lambda: system.database.fetchval("SELECT swept_at FROM api_token WHERE id = $1", token)
    )
    await eventually(system.is_whole)


async def test_without_redis_live_tokens_work_and_a_revoke_holds(
    system: System, customer: Person, record_property: Record
) -> None:
    _, live = await customer.create_token(after(days=90))
    token_id, leaked = await customer.create_token(after(days=90))
    for secret in (live, leaked):
        assert (await system.call(secret)).status_code == 200

    system.valkey.stop()
    assert [(await system.call(secret)).status_code for secret in (live, leaked)] == [200, 200]
    receipt = await customer.change("revokeToken", token_id)
    revoked_at = boottime()
    await eventually(lambda: system.is_refused(leaked), BOUND_SECONDS)

    record_property("seconds_until_refused_without_redis", round(boottime() - revoked_at, 3))
    assert receipt["state"] == "PENDING"
    assert (await system.call(live)).status_code == 200
    parts = await system.readiness()
    assert parts["ready"] is True
    assert parts["redis"]["state"] == "degraded"
    assert parts["database"]["outboxLagSeconds"] > 0

    system.valkey.start()

    await eventually(partial(is_confirmed, system))
    await eventually(system.is_whole)
    assert (await system.readiness())["database"]["outboxLagSeconds"] == 0
    assert (await system.call(live)).status_code == 200
    assert await system.is_refused(leaked)


async def is_confirmed(system: System) -> bool:
    waiting = await system.database.fetchval(
        "SELECT count(*) FROM outbox_event WHERE confirmed_at IS NULL"
    )
    return bool(waiting == 0)
