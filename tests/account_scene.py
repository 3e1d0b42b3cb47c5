"""Who suspends, resumes and closes whom: a verb, whoever does it, and the account it is done to."""

from collections.abc import Awaitable, Callable

from edge_scene import People, Person

from service.accounts import Changed
from service.composition import Service

VERBS = ("suspend", "resume", "close")

Act = Callable[[str, Person, Person], Awaitable[Changed]]


def acting(service: Service, people: People) -> Act:
    """Return what does a verb; whoever closes an account is told its name."""

    async def act(verb: str, by: Person, whom: Person) -> Changed:
        account_id = whom.actor.account_id
        if verb == "suspend":
            return await service.accounts.suspend(by.actor, account_id)
        if verb == "resume":
            return await service.accounts.resume(by.actor, account_id)
        [found] = await service.accounts.get_many(people.operator.actor, [account_id])
        name = "Missing" if found is None else found.name
        return await service.accounts.close(by.actor, account_id, expected_name=name)

    return act
