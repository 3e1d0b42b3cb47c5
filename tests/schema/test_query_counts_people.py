"""How many statements what people do costs; the number of people and sessions does not matter."""

import pytest
from conftest import FrozenClock, GraphQL
from edge_scene import People
from people_scene import invite, join, sign_in_again
from test_query_counts import counted

from schema import node_ids
from service.composition import Service
from service.roles import Role

OPERATIONS = {
    "query($account: ID!) { members(first: 100, accountId: $account) "
    "{ edges { node { email role invitation { sentAt } } } } }": 1,
    "{ sessions(first: 100) { edges { node { createdAt isCurrent } } } }": 1,
    "query($member: ID!) { nodes(ids: [$member, $member]) { id } }": 1,
    # The account under its lock, the recent password, the count, the member, the link, the trail,
    # reading it back.
    "mutation($account: ID!) { inviteMember(input: {accountId: $account, role: VIEWER, "
    'email: "new@example.com"}) { member { id } } }': 7,
    # The member, the account, the link, the trail, reading it back.
    "mutation($invited: ID!) { resendInvitation(input: {id: $invited}) { member { id } } }": 5,
    # All members under their lock, the account, the recent password, the change, the sessions' end,
    # the trail with the outbox, its note.
    "mutation($member: ID!) { updateMember(input: {id: $member, role: MANAGER}) "
    "{ member { id } } }": 7,
    # As that without the account and the password, and the link's end.
    "mutation($member: ID!) { removeMember(input: {id: $member}) { member { id } } }": 6,
    # The account under its lock, the change, the trail with the outbox; for scopes also the account
    # above, and the note.
    'mutation($account: ID!) { updateAccount(input: {id: $account, name: "N"}) '
    "{ account { id } } }": 3,
    'mutation($account: ID!) { updateAccount(input: {id: $account, grantableScopes: ["dns:read"]}) '
    "{ account { id } } }": 5,
    # The person, their sessions' end, the trail with the outbox, its note.
    "mutation { endOtherSessions(input: {}) { endedCount } }": 4,
    # The address, the person by it, the person under a hold, the note, the trail.
    'mutation { confirmPassword(input: {password: "correct horse battery"}) { recentUntil } }': 5,
    # As that under a lock, and the change, the sessions' end, the link's end, the outbox, its note.
    'mutation { changePassword(input: {currentPassword: "correct horse battery", '
    'newPassword: "battery horse correct"}) { userErrors { code } } }': 9,
}


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.mark.parametrize(("query", "expected"), OPERATIONS.items())
async def test_what_people_do_costs_its_fixed_number_of_statements(
    query: str,
    expected: int,
    people: People,
    service: Service,
    graphql: GraphQL,
    clock: FrozenClock,
) -> None:
    colleague = await join(service, people.customer.actor, Role.VIEWER)
    for person in (colleague, people.reseller):
        await sign_in_again(service, person)
    invited = await invite(service, people.customer.actor, Role.VIEWER)
    assert colleague.actor.member_id is not None
    clock.advance(minutes=1)
    values = {
        "account": people.customer.account_id,
        "member": node_ids.encode(node_ids.MEMBER, colleague.actor.member_id),
        "invited": node_ids.encode(node_ids.MEMBER, invited.id),
    }
    variables = {name: value for name, value in values.items() if f"${name}:" in query}

    with counted() as statements:
        answer = await graphql(query, secret=people.reseller.secret, **variables)

    assert "errors" not in answer, answer
    assert "INVALID" not in str(answer), answer
    assert len(statements) == expected, "\n".join(statements)


async def test_asking_for_a_link_is_one_statement_whoever_has_the_address(
    people: People, graphql: GraphQL
) -> None:
    query = "mutation($email: String!) { requestPasswordReset(input: {email: $email}) "
    query += "{ userErrors { code } } }"
    counts = []
    for email in (people.customer.email, "nobody@example.com"):
        with counted() as statements:
            answer = await graphql(query, email=email)
        assert answer["data"]["requestPasswordReset"] == {"userErrors": []}
        counts.append(len(statements))

    assert counts == [1, 1]
