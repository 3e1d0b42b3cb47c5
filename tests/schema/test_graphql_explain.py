"""``explainToken``: a verdict with its reasons, and nothing to whoever may not see the token."""

import io
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast
from uuid import uuid4

import asyncpg
import httpx2
import pytest
from conftest import FrozenClock, GraphQL
from edge_scene import People, assert_leaks_nothing, bearer, fingerprint
from factories import make_token
from rotation_scene import rotate

from schema import node_ids
from service.composition import Service
from service.secret_format import make_secret
from service.tokens import Created

EXPLAIN = (
    "query($input: ExplainTokenInput!) { explainToken(input: $input) { status token { id name }"
    " firstFailure { status passed detail } checks { status passed detail } } }"
)
NULL = {"data": {"explainToken": None}}
ORDER = [
    "REVOKED",
    "EXPIRED",
    "SUSPENDED",
    "NOT_YET_VALID",
    "AUDIENCE_NOT_ALLOWED",
    "IP_NOT_ALLOWED",
    "INSUFFICIENT_SCOPE",
]


@pytest.fixture
async def people(service: Service) -> People:
    return await People.make(service)


@pytest.fixture
async def token(service: Service, people: People) -> Created:
    return await make_token(service, people.customer.actor, name="theirs")


async def ask(graphql: GraphQL, caller: str | None, /, **fields: object) -> dict[str, Any]:
    answer = await graphql(EXPLAIN, secret=caller, input=fields)
    answer.pop("extensions", None)
    return answer


async def explained(graphql: GraphQL, caller: str, /, **fields: object) -> dict[str, Any]:
    answer = await ask(graphql, caller, **fields)
    return cast(dict[str, Any], answer["data"]["explainToken"])


def id_of(created: Created) -> str:
    return node_ids.encode(node_ids.TOKEN, created.token.id)


@contextmanager
def logged() -> Iterator[io.StringIO]:
    """Everything that anybody logs meanwhile, at every level."""
    written, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(written), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield written
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


async def test_a_token_that_is_accepted_passes_every_check(
    graphql: GraphQL, people: People, token: Created
) -> None:
    told = await explained(graphql, people.customer.secret, id=id_of(token), scope="dns:read")

    assert told["status"] == "VALID"
    assert told["firstFailure"] is None
    assert told["token"] == {"id": id_of(token), "name": "theirs"}
    assert [check["status"] for check in told["checks"]] == ORDER
    assert all(check["passed"] for check in told["checks"])


async def test_the_verdict_is_that_of_the_edge_with_the_same_words_for_every_reason(
    graphql: GraphQL,
    people: People,
    service: Service,
    clock: FrozenClock,
    http: httpx2.AsyncClient,
) -> None:
    """Asked from the address of the test's client, as the edge is."""
    actor, now = people.customer.actor, clock.now()
    made = {
        "VALID": await make_token(service, actor),
        "REVOKED": await make_token(service, actor),
        "EXPIRED": await make_token(service, actor, expires_at=now + timedelta(minutes=1)),
        "SUSPENDED": await make_token(service, actor),
        "NOT_YET_VALID": await make_token(service, actor, not_before=now + timedelta(days=1)),
        "AUDIENCE_NOT_ALLOWED": await make_token(service, actor, audiences=("dns-api",)),
        "IP_NOT_ALLOWED": await make_token(service, actor, allowed_ip_ranges=("198.51.100.7",)),
        "INSUFFICIENT_SCOPE": await make_token(service, actor, scopes=("mail:read",)),
    }
    await service.tokens.revoke(actor, made["REVOKED"].token.id)
    await service.tokens.suspend(actor, made["SUSPENDED"].token.id)
    clock.advance(minutes=1)

    for status, created in made.items():
        edge = await http.get("/validate?scope=dns:read", headers=bearer(created.secret))
        for which in ({"id": id_of(created)}, {"secret": created.secret}):
            told = await explained(
                graphql, people.customer.secret, **which, address="192.0.2.7", scope="dns:read"
            )

            assert told["status"] == status
            assert (edge.status_code == 200) is (status == "VALID")
            failed = [check for check in told["checks"] if not check["passed"]]
            assert told["firstFailure"] == (failed[0] if failed else None)
            assert [check["status"] for check in failed] == ([] if status == "VALID" else [status])


async def test_a_replaced_secret_is_explained_by_itself(
    graphql: GraphQL, people: People, service: Service, token: Created
) -> None:
    await rotate(service, people.customer.actor, token.token.id, 0)

    old = await explained(graphql, people.customer.secret, secret=token.secret)
    current = await explained(graphql, people.customer.secret, id=id_of(token))

    assert old["firstFailure"] == {
        "status": "EXPIRED",
        "passed": False,
        "detail": "This secret was replaced by a rotation.",
    }
    assert (current["status"], current["token"]) == ("VALID", old["token"])


async def test_a_foreign_token_a_missing_one_and_no_token_at_all_are_told_in_the_same_words(
    graphql: GraphQL, people: People, service: Service, token: Created, owner: asyncpg.Connection
) -> None:
    missing = make_secret("live", service.settings.pepper_keys).text
    nothing: list[dict[str, object]] = [
        {"id": id_of(token)},
        {"secret": token.secret},
        {"secret": token.secret, "scope": "dns:read", "address": "192.0.2.7", "audience": "dns"},
        {"id": node_ids.encode(node_ids.TOKEN, uuid4())},
        {"id": people.customer.account_id},
        {"id": node_ids.encode(node_ids.TOKEN, people.customer.actor.token_id)},
        {"id": ""},
        {"id": "§"},
        {"id": "x" * 5000},
        {"secret": missing},
        {"secret": people.customer.secret},
        {"secret": people.sibling.secret},
        {"secret": ""},
        {"secret": "\0"},
        {"secret": "tw_live_"},
        {"secret": f" {token.secret}"},
        {"secret": "🔑" * 2000},
    ]
    before = await fingerprint(owner)

    for person in (people.sibling, people.stranger, people.other_reseller):
        for fields in nothing:
            assert await ask(graphql, person.secret, **fields) == NULL, fields

    assert await fingerprint(owner) == before
    assert (await explained(graphql, people.customer.secret, id=id_of(token)))["status"] == "VALID"


async def test_nobody_and_who_lacks_the_scope_learn_nothing(
    graphql: GraphQL, people: People, service: Service, token: Created
) -> None:
    """Not even by the secret itself: whoever holds it may use it, not ask about it."""
    narrow = await make_token(service, people.customer.actor, scopes=("dns:read",))
    missing = make_secret("live", service.settings.pepper_keys).text

    for secret, code in (
        (None, "UNAUTHENTICATED"),
        (narrow.secret, "INSUFFICIENT_SCOPE"),
        (token.secret, "INSUFFICIENT_SCOPE"),
    ):
        answers = [
            await ask(graphql, secret, **fields)
            for fields in ({"secret": token.secret}, {"secret": missing}, {"id": id_of(token)})
        ]
        assert answers[0]["errors"][0]["extensions"]["code"] == code
        assert [answer["errors"] for answer in answers] == [answers[0]["errors"]] * 3
        assert_leaks_nothing(json.dumps(answers))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, None),
        ({"id": "ours", "secret": "x"}, None),
        ({"id": None, "secret": None}, None),
        ({"id": "ours", "address": "nowhere"}, "address"),
        ({"id": "ours", "address": ""}, "address"),
        ({"id": "ours", "address": "192.0.2.0/24"}, "address"),
        ({"id": "ours", "address": "1" * 5000}, "address"),
    ],
)
async def test_a_question_of_another_form_is_refused(
    graphql: GraphQL, people: People, token: Created, fields: dict[str, object], field: str | None
) -> None:
    if fields.get("id"):
        fields = fields | {"id": id_of(token)}

    answer = await ask(graphql, people.customer.secret, **fields)

    [error] = answer["errors"]
    assert error["extensions"]["code"] == "INVALID_INPUT"
    assert error["extensions"].get("field") == field
    assert answer["data"]["explainToken"] is None


async def test_whatever_is_asked_for_is_answered_and_not_repeated(
    graphql: GraphQL, people: People, token: Created
) -> None:
    for scope in ("", " ", "*", "dns:*", "DNS:READ", "x" * 5000, "\0", "'; DROP", "<script>"):
        told = await explained(graphql, people.customer.secret, id=id_of(token), scope=scope)

        assert told["status"] in {"VALID", "INSUFFICIENT_SCOPE"}
        assert len(json.dumps(told)) < 2000
        assert "script" not in json.dumps(told)


async def test_what_is_told_of_a_token_holds_nothing_of_those_above_it(
    graphql: GraphQL, people: People, service: Service, token: Created
) -> None:
    """That somebody above was suspended is told, and not who, nor when, nor why."""
    await service.accounts.suspend(people.operator.actor, people.reseller.actor.account_id)

    told = await explained(graphql, people.operator.secret, id=id_of(token))

    assert told["status"] == "SUSPENDED"
    text = json.dumps(told["checks"])
    reseller = await service.accounts.get(people.operator.actor, people.reseller.actor.account_id)
    assert reseller.name not in text
    assert str(people.reseller.actor.account_id) not in text


@pytest.mark.parametrize("caller", ["customer", "stranger"])
async def test_a_secret_that_is_asked_about_is_neither_logged_nor_repeated(
    graphql: GraphQL, people: People, token: Created, caller: str, http: httpx2.AsyncClient
) -> None:
    random = token.secret.rpartition("_")[2]
    secret = getattr(people, caller).secret

    with logged() as written:
        answers = [
            await ask(graphql, secret, secret=token.secret),
            await ask(graphql, secret, secret=token.secret, address="nowhere"),
            await ask(graphql, secret, secret=token.secret, id=id_of(token)),
            await ask(graphql, None, secret=token.secret),
        ]
        in_text = await http.post(
            "/graphql",
            json={"query": f'{{ explainToken(input: {{secret: "{token.secret}"}}) {{ status }} }}'},
            headers=bearer(secret),
        )

    for text in (written.getvalue(), json.dumps(answers), in_text.text):
        assert random[:8] not in text
    assert in_text.status_code == 200


async def test_explaining_is_no_use_of_the_token(
    graphql: GraphQL, people: People, service: Service, token: Created, owner: asyncpg.Connection
) -> None:
    await explained(graphql, people.customer.secret, secret=token.secret)
    await explained(graphql, people.customer.secret, id=id_of(token))

    assert await service.cache.redis.hgetall("usage") == {}
    used = await owner.fetchval("SELECT last_used_at FROM api_token WHERE id = $1", token.token.id)
    assert used is None


@pytest.mark.parametrize("shape", ['{"secret": "HERE", "another": 1}', '{"secret": ["HERE", {}]}'])
async def test_a_variable_that_cannot_be_read_is_not_repeated(
    graphql: GraphQL, people: People, token: Created, shape: str
) -> None:
    """Error messages end in the logs and trackers of clients."""
    fields = json.loads(shape.replace("HERE", token.secret))

    answer = await ask(graphql, people.customer.secret, **fields)

    assert answer["errors"]
    assert token.secret not in json.dumps(answer)
