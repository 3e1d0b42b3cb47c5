"""A client that goes away at whatever moment finds the one secret that it asked for."""

from collections import Counter
from itertools import count

import asyncpg
import pytest
from factories import Platform
from replay_scene import OPERATIONS, Aborted, asking
from rotation_scene import opening
from stores import everything

from service.composition import Service
from service.rotation import Rotated

STATEMENTS_MIN = {"create": 3, "rotate": 6}


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_whoever_was_cut_off_at_any_moment_gets_the_one_secret_under_the_same_key(
    service: Service, platform: Platform, owner: asyncpg.Connection, operation: str
) -> None:
    made = Counter[bool]()
    for nth in count(1):
        await owner.execute("DELETE FROM api_token WHERE kind = 'API_TOKEN'")
        ask = await asking(service, platform, operation)
        aborted = Aborted(ask(platform.customer), nth)
        lost = await aborted.outcome()

        found = await ask(platform.customer)

        assert lost is None or lost.secret == found.secret
        assert await opening(service, owner, found.secret) == [found.secret]
        stored = await everything(owner)
        [token] = [row for row in stored["api_token"] if row["kind"] == "API_TOKEN"]
        assert len(stored["replay"]) == 1
        secrets = [row for row in stored["secret"] if row["token_id"] == token["id"]]
        [current] = [row for row in secrets if row["retires_at"] is None]
        assert current["last_four"] == found.secret[-4:]
        assert len(secrets) == 1 + isinstance(found, Rotated)
        assert (await ask(platform.customer)).secret == found.secret
        # What the lost request could not drop any more, the relay does.
        await service.relay.relay_due()
        query = "SELECT count(*) FROM outbox_event WHERE revision IS NULL"
        assert await owner.fetchval(query) == 0
        made[found.is_replay] += 1
        if aborted.waits < nth:
            break

    # It was cut off at each of its statements, and after its commit.
    assert made[False] > STATEMENTS_MIN[operation]
    assert made[True] > 1
