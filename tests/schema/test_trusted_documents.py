"""Documents that are known by their hash; in production, where there is a list, the only ones."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from click.testing import CliRunner
from edge_scene import People, assert_leaks_nothing, bearer, client_of, fingerprint
from graphql import parse, validate

from schema.root import build_schema
from schema.trusted_documents import TrustedDocuments, hash_of, main, page_documents
from service.app import create_app
from service.composition import Service
from service.errors import SettingsRefused
from service.settings import Settings
from service.validator import Validator

VIEWER = "query Viewer { viewer { email } }\n"
SIGN_OUT = "mutation SignOut { signOut { userErrors { code } } }\n"
OTHER = "query Other { availableScopes }"

Opens = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


def listed(*documents: str) -> str:
    return json.dumps({hash_of(document): document for document in documents})


@pytest.fixture
def opens(settings: Settings, service: Service, validator: Validator, tmp_path: Path) -> Opens:
    """Open the application with a list of documents."""

    @asynccontextmanager
    async def opened(environment: str = "production") -> AsyncIterator[httpx2.AsyncClient]:
        path = tmp_path / "documents.json"
        path.write_text(listed(VIEWER, SIGN_OUT))
        update = {"environment": environment, "trusted_documents": str(path)}
        app = create_app(settings.model_copy(update=update))
        app.open(service, validator)
        async with client_of(app) as client:
            yield client

    return opened


def forms(document: str) -> dict[str, dict[str, Any]]:
    """Return the ways to ask for a document."""
    digest = hash_of(document)
    persisted = {"persistedQuery": {"version": 1, "sha256Hash": digest}}
    return {
        "its text": {"query": document},
        "documentId": {"documentId": f"sha256:{digest}"},
        "documentId and null": {"documentId": f"sha256:{digest}", "query": None},
        "Apollo's hash": {"extensions": persisted},
        "Apollo's hash and text": {"extensions": persisted, "query": document},
        "both": {"documentId": f"sha256:{digest}", "extensions": persisted},
    }


@pytest.mark.parametrize("form", forms(VIEWER))
async def test_a_document_that_is_listed_runs_however_it_is_asked_for(
    form: str, service: Service, opens: Opens
) -> None:
    people = await People.make(service)

    async with opens() as client:
        answer = await client.post(
            "/graphql", json=forms(VIEWER)[form], headers=bearer(people.customer.secret)
        )

    assert answer.json()["data"] == {"viewer": {"email": people.customer.email}}


UNLISTED = {
    **{f"another: {form}": body for form, body in forms(OTHER).items()},
    "a space more": {"query": f"{VIEWER} "},
    "a line less": {"query": VIEWER.strip()},
    "nothing at all": {"query": "{ __typename }"},
    "what does not parse": {"query": "{"},
    "a listed one's name": {"query": "query Viewer { availableScopes }"},
    "a listed hash, another text": forms(VIEWER)["Apollo's hash"] | {"query": OTHER},
    "an unlisted hash, a listed text": forms(OTHER)["Apollo's hash"] | {"query": VIEWER},
}


@pytest.mark.parametrize("body", UNLISTED.values(), ids=UNLISTED.keys())
async def test_no_other_document_runs_in_production(
    body: dict[str, Any], service: Service, opens: Opens, owner: asyncpg.Connection
) -> None:
    people = await People.make(service)
    before = await fingerprint(owner)

    async with opens() as client:
        for accept in ("application/json", "text/event-stream"):
            headers = bearer(people.customer.secret) | {"Accept": accept}
            answer = await client.post("/graphql", json=body, headers=headers)
            assert '"code":"DOCUMENT_NOT_TRUSTED"' in answer.text
            assert people.customer.email not in answer.text
            assert_leaks_nothing(answer.text)

    assert await fingerprint(owner) == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"documentId": "x"}, 400),
        ({"documentId": 5}, 400),
        ({"documentId": {}}, 400),
        ({"documentId": ["sha256:"]}, 400),
        ({"documentId": "sha256:"}, 200),
        ({"documentId": "sha256:" + "a" * 60_000}, 200),
        ({"documentId": f"sha256:{hash_of(VIEWER).upper()}"}, 200),
        ({"documentId": f"sha256:{hash_of(VIEWER)}\n"}, 200),
        ({"extensions": {"persistedQuery": None}}, 200),
        ({"extensions": {"persistedQuery": []}}, 200),
        ({"extensions": {"persistedQuery": {"sha256Hash": 5}}}, 200),
        ({"extensions": {"persistedQuery": {"sha256Hash": {}}}}, 200),
    ],
)
async def test_a_hash_of_another_form_is_refused(
    body: dict[str, Any], status: int, opens: Opens
) -> None:
    async with opens() as client:
        answer = await client.post("/graphql", json=body)

    assert answer.status_code == status
    [error] = answer.json()["errors"]
    assert error["extensions"]["code"] == ("BAD_REQUEST" if status == 400 else "INVALID_INPUT")
    assert_leaks_nothing(answer.text)


async def test_in_development_any_document_runs_and_a_listed_one_also_by_its_hash(
    opens: Opens,
) -> None:
    async with opens("development") as client:
        for body in ({"query": "{ viewer { email } }"}, *forms(VIEWER).values()):
            answer = await client.post("/graphql", json=body)
            assert answer.json()["data"] == {"viewer": None}
        unknown = await client.post("/graphql", json=forms(OTHER)["documentId"])

    assert unknown.json()["errors"][0]["extensions"] == {"code": "DOCUMENT_NOT_TRUSTED"}


async def test_without_a_list_any_document_runs_and_no_hash_is_known(
    http: httpx2.AsyncClient,
) -> None:
    free = await http.post("/graphql", json={"query": VIEWER})
    hashed = await http.post("/graphql", json=forms(VIEWER)["documentId"])

    assert free.json()["data"] == {"viewer": None}
    assert hashed.json()["errors"][0]["extensions"] == {"code": "DOCUMENT_NOT_TRUSTED"}


async def test_our_own_pages_work_where_only_listed_documents_run(opens: Opens) -> None:
    schema = build_schema(production=False)._schema  # noqa: SLF001 - strawberry has no public name
    documents = page_documents()
    sent = " ".join(documents)

    for word in ("signIn(", "signOut", "viewer {", "tokens(", "createToken("):
        assert word in sent
    for document in documents:
        assert validate(schema, parse(document)) == [], document
    [who] = [document for document in documents if document.startswith("{ viewer")]
    async with opens() as client:
        assert (await client.post("/graphql", json={"query": who})).json()["data"] is not None


BROKEN = {
    "not there": None,
    "empty": "",
    "no JSON": "{",
    "no object": "[]",
    "nothing listed": "{}",
    "no text": json.dumps({hash_of(VIEWER): 5}),
    "another's hash": json.dumps({hash_of(VIEWER): OTHER}),
    "hash in capitals": json.dumps({hash_of(VIEWER).upper(): VIEWER}),
    "one of two is wrong": json.dumps({hash_of(VIEWER): VIEWER, hash_of(OTHER): VIEWER}),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN.keys())
def test_the_service_does_not_start_with_a_list_that_is_not_right(
    text: str | None, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "documents.json"
    if text is not None:
        path.write_text(text)
    update = {"environment": "production", "trusted_documents": str(path)}

    with pytest.raises(SettingsRefused, match=r"^TOKENWARD_TRUSTED_DOCUMENTS: "):
        create_app(settings.model_copy(update=update))


def test_a_consoles_documents_are_collected_into_a_list_that_starts(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "viewer.graphql").write_text(VIEWER)
    (tmp_path / "deep/sign-out.graphql").write_text(SIGN_OUT)
    (tmp_path / "notes.txt").write_text("not a document")
    output = tmp_path / "documents.json"

    ran = CliRunner().invoke(main, ["collect", str(tmp_path), "-o", str(output)])

    assert (ran.exit_code, ran.output) == (0, "2 documents\n")
    known = TrustedDocuments.read(str(output), production=True)
    assert known.is_strict
    assert {VIEWER, SIGN_OUT} <= set(known.by_hash.values())


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ("{", "Syntax Error"),
        ("{ nope }", "Cannot query field 'nope'"),
        ("{ ...F }", "Unknown fragment"),
        ("{ a " * 12 + "}" * 12, "Nest at most"),
        (None, "no *.graphql file"),
    ],
)
def test_a_document_that_would_be_refused_is_not_collected(
    document: str | None, complaint: str, tmp_path: Path
) -> None:
    if document is not None:
        (tmp_path / "fine.graphql").write_text(VIEWER)
        (tmp_path / "wrong.graphql").write_text(document)
    output = tmp_path / "documents.json"

    ran = CliRunner().invoke(main, ["collect", str(tmp_path), "-o", str(output)])

    assert ran.exit_code == 1
    assert complaint in ran.output
    assert not output.exists()
