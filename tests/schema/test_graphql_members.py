"""Members, passwords and sessions as clients of the API meet them."""

import asyncpg
import httpx2
import pytest
from conftest import GraphQL
from edge_scene import People, fingerprint
from people_scene import OTHER_PASSWORD, join, mail

from schema import node_ids
from service.composition import Service
from service.roles import Role

REFUSED = "userErrors { code field message }"


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


async def test_an_invitation_leads_to_a_session_with_the_rights_of_the_role(
    service: Service, people: People, graphql: GraphQL
) -> None:
    answer = await graphql(
        'mutation { inviteMember(input: {email: " New@Example.com ", role: MANAGER}) '
        f"{{ member {{ id email role hasPassword invitation {{ sentAt }} }} {REFUSED} }} }}",
        secret=people.customer.secret,
    )
    member = answer["data"]["inviteMember"]["member"]
    assert member.pop("id")
    assert member == {
        "email": "new@example.com",
        "role": "MANAGER",
        "hasPassword": False,
        "invitation": {"sentAt": None},
    }
    [secret] = (await mail(service)).secrets("new@example.com")

    reset = await graphql(
        "mutation($link: String!, $new: String!) { resetPassword(input: {secret: $link, "
        f"newPassword: $new}}) {{ propagation {{ id }} {REFUSED} }} }}",
        link=secret,
        new=OTHER_PASSWORD,
    )
    assert reset["data"]["resetPassword"] == {"propagation": None, "userErrors": []}
    signed_in = await graphql(
        'mutation($password: String!) { signIn(input: {email: "new@example.com", '
        "password: $password, transport: BEARER}) { sessionSecret } }",
        password=OTHER_PASSWORD,
    )
    viewer = await graphql(
        "{ viewer { email role member { role invitation { sentAt } } scopes } }",
        secret=signed_in["data"]["signIn"]["sessionSecret"],
    )

    told = viewer["data"]["viewer"]
    assert (told["email"], told["role"]) == ("new@example.com", "MANAGER")
    assert told["member"] == {"role": "MANAGER", "invitation": None}
    assert "tokens:write" in told["scopes"]
    assert "members:write" not in told["scopes"]


async def test_a_role_and_its_end_are_told_with_a_receipt(
    service: Service, people: People, graphql: GraphQL
) -> None:
    person = await join(service, people.customer.actor, Role.VIEWER)
    assert person.actor.member_id is not None
    member = node_ids.encode(node_ids.MEMBER, person.actor.member_id)
    query = (
        "mutation($member: ID!) { updateMember(input: {id: $member, role: MANAGER, "
        f"expectedVersion: 2, waitFor: ALL_VALIDATORS}}) "
        f"{{ member {{ role version }} propagation {{ state }} {REFUSED} }} }}"
    )

    changed = await graphql(query, secret=people.customer.secret, member=member)
    again = await graphql(query, secret=people.customer.secret, member=member)
    viewer = await graphql("{ viewer { role } }", secret=person.secret)

    told = changed["data"]["updateMember"]
    assert told["member"] == {"role": "MANAGER", "version": 3}
    assert told["propagation"]["state"] in {"CONFIRMED", "APPLIED"}
    # The second changes nothing: the role is that already.
    assert again["data"]["updateMember"]["propagation"] is None
    assert viewer["data"]["viewer"] is None


async def test_what_is_absent_of_an_account_stays_and_null_is_refused(
    people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    change = "mutation($input: UpdateAccountInput!) { updateAccount(input: $input) "
    change += f"{{ account {{ name grantableScopes }} propagation {{ state }} {REFUSED} }} }}"
    theirs = {"id": people.customer.account_id}
    secret = people.reseller.secret
    before = await fingerprint(owner)
    for wrong in ({"name": None}, {"grantableScopes": None}, {"grantableScopes": [None]}):
        answer = await graphql(change, secret=secret, input=theirs | wrong)
        assert answer["errors"][0]["extensions"]["code"] == "INVALID_OPERATION"
    nothing = await graphql(change, secret=secret, input=theirs)
    assert nothing["data"]["updateAccount"]["userErrors"][0]["code"] == "INVALID_INPUT"
    assert await fingerprint(owner) == before

    named = await graphql(change, secret=secret, input=theirs | {"name": "Other"})
    capped = await graphql(change, secret=secret, input=theirs | {"grantableScopes": []})

    assert named["data"]["updateAccount"] == {
        "account": {"name": "Other", "grantableScopes": ["*"]},
        "propagation": None,
        "userErrors": [],
    }
    told = capped["data"]["updateAccount"]
    assert told["account"] == {"name": "Other", "grantableScopes": []}
    assert told["propagation"] is not None


async def test_a_member_and_a_session_are_nodes_to_whom_they_are_told(
    people: People, graphql: GraphQL
) -> None:
    me = people.customer
    assert me.actor.member_id is not None
    ids = [
        node_ids.encode(node_ids.MEMBER, me.actor.member_id),
        node_ids.encode(node_ids.SESSION, me.actor.token_id),
    ]
    query = "query($ids: [ID!]!) { nodes(ids: $ids) "
    query += "{ ... on Member { email } ... on Session { isCurrent } } }"

    mine = await graphql(query, secret=me.secret, ids=ids)
    above = await graphql(query, secret=people.reseller.secret, ids=ids)
    strange = await graphql(query, secret=people.stranger.secret, ids=ids)

    assert mine["data"]["nodes"] == [{"email": me.email}, {"isCurrent": True}]
    assert above["data"]["nodes"] == [{"email": me.email}, None]
    assert strange["data"]["nodes"] == [None, None]


@pytest.mark.parametrize(
    "mutation",
    [
        'confirmPassword(input: {password: "a"})',
        'changePassword(input: {currentPassword: "a", newPassword: "b"})',
        'resetPassword(input: {secret: "a", newPassword: "b"})',
        'requestPasswordReset(input: {email: "a@example.com"})',
        'inviteMember(input: {email: "a@example.com", role: OWNER})',
    ],
)
async def test_a_document_tries_a_password_or_writes_to_somebody_once(
    mutation: str, people: People, graphql: GraphQL, owner: asyncpg.Connection
) -> None:
    before = await fingerprint(owner)

    answer = await graphql(
        f"mutation {{ a: {mutation} {{ {REFUSED} }} b: {mutation} {{ {REFUSED} }} }}",
        secret=people.customer.secret,
    )

    assert "at most once" in answer["errors"][0]["message"]
    assert await fingerprint(owner) == before


async def test_the_page_to_set_a_password_loads_nothing_from_elsewhere(
    http: httpx2.AsyncClient,
) -> None:
    page = await http.get("/reset-password")
    script = await http.get("/home/reset.js")

    assert page.status_code == script.status_code == 200
    assert page.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert "<script" in page.text
    assert page.text.count("<script") == page.text.count('<script type="module" src="/home/')
    # The link's secret is taken out of the address before anything else.
    assert script.text.index("history.replaceState") < script.text.index("fetch(")
