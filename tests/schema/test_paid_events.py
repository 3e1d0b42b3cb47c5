"""Each event of a subscription is paid for: watching is no way round the budget."""

from collections.abc import AsyncIterator

import pytest
from edge_scene import People
from factories import make_token
from live_scene import Web, opened_web
from stores import eventually

from service.cache import open_cache
from service.composition import Service, compose
from service.settings import Settings
from service.tokens import RevocationReason
from service.validator import Validator

DEAR = (
    "subscription { tokenEvents { event { action }"
    " token { account { tokens(first: 100) { edges { node { name } } } } } } }"
)
COST = 1 + 1 + 1 + 1 + 1 + 1 + 100 * 2


@pytest.fixture
async def web(settings: Settings, service: Service, validator: Validator) -> AsyncIterator[Web]:
    """A process where a caller may ask for four such answers, and points hardly come back."""
    people = await People.make(service)
    await service.sealer.seal()
    poor = settings.model_copy(
        update={"cost_budget": 4 * COST + COST // 2, "cost_restore_per_second": 1}
    )
    async with open_cache(poor) as cache:
        few = compose(poor, cache, service.clock)
        async with opened_web(poor, few, validator, people) as opened:
            yield opened


async def test_who_has_no_points_left_is_told_nothing_more_and_still_judged(web: Web) -> None:
    actor = web.people.customer.actor
    watcher = await make_token(web.service, actor, scopes=("tokens:read", "accounts:read"))
    await web.service.sealer.seal()

    async def spent() -> bool:
        return (await web.service.budget.spend(str(watcher.token.id), 0)).available < COST

    async with web.known(watcher.secret) as live:
        await live.subscribe(DEAR)
        heard = [await live.hear()]
        for _ in range(5):
            await make_token(web.service, actor)
            await web.service.sealer.seal()
        await eventually(spent, seconds=5)
        await web.service.tokens.revoke(actor, watcher.token.id, reason=RevocationReason.LEAKED)
        code, last = await live.end()

    heard += [message for message in last if message["type"] == "next"]
    told = [step["payload"]["data"] for step in heard if "errors" not in step["payload"]]
    assert code == 4403
    assert [step["tokenEvents"]["event"] is None for step in told] == [True, False, False, False]
