"""Whatever is done to the trail behind our back is found; what is exported can be checked alone."""

import csv
import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from conftest import FrozenClock
from factories import Platform, make_token
from trail_scene import forms

from service.chain import FIRST_PREVIOUS, Head, Walk
from service.composition import Service
from service.errors import InsufficientScope, InvalidInput
from service.trail_export import (
    CELLS,
    Exported,
    Extract,
    Format,
    export_everything,
    export_for,
    first_line,
    read_heads,
    verify,
    verify_lines,
    write,
    write_heads,
)


@pytest.fixture
async def trail(
    service: Service, platform: Platform, clock: FrozenClock, owner: asyncpg.Connection
) -> list[dict[str, Any]]:
    """Five events of the customer's behind those of everybody's first day, a minute apart."""
    for number in range(5):
        clock.advance(minutes=1)
        await make_token(service, platform.customer, name=f"token {number} of five")
    await service.sealer.seal()
    return await forms(owner)


@asynccontextmanager
async def unguarded(owner: asyncpg.Connection) -> AsyncIterator[None]:
    """Let a superuser write past every trigger."""
    await owner.execute("SET session_replication_role = replica")
    try:
        yield
    finally:
        await owner.execute("RESET session_replication_role")


async def collected(batches: AsyncIterator[list[Exported]]) -> list[Exported]:
    return [event async for batch in batches for event in batch]


# Every column but the hash, and what it is changed to.
ALTERATIONS = {
    "account_id": "gen_random_uuid()",
    "action": "'token.renamed'",
    "actor_account_id": "gen_random_uuid()",
    "actor_member_id": "NULL",
    "actor_token_id": "gen_random_uuid()",
    "address": "'198.51.100.1'",
    "details": "details || '{\"x\": 1}'",
    "id": "gen_random_uuid()",
    "occurred_at": "occurred_at + interval '1 microsecond'",
    "position": "position + 1000",
    "request_id": "'another'",
    "reseller_id": "NULL",
    "sequence": "sequence + 1000",
    "subject_id": "gen_random_uuid()",
    "hash": "sha256(hash)",
}


async def test_what_was_sealed_is_found_intact_and_every_account_has_its_head(
    trail: list[dict[str, Any]], platform: Platform
) -> None:
    walk, broken = await verify(None, {})
    own, nothing = await verify(platform.customer.account_id, {})

    assert (broken, walk.count, walk.unproven) == (None, len(trail), 0)
    assert set(walk.heads) == {event["account_id"] for event in trail}
    account_id = str(platform.customer.account_id)
    assert nothing is None
    assert own.heads == {account_id: walk.heads[account_id]}
    assert walk.heads[account_id].hash == trail[-1]["hash"]


async def test_an_alteration_of_any_column_by_a_superuser_is_found(
    trail: list[dict[str, Any]], owner: asyncpg.Connection
) -> None:
    victim = trail[-3]
    assert set(ALTERATIONS) == set(victim)

    for column, value in ALTERATIONS.items():
        transaction = owner.transaction()
        await transaction.start()
        await owner.execute("SET LOCAL session_replication_role = replica")
        change = f"UPDATE audit_event SET {column} = {value}"  # noqa: S608 - our own words
        await owner.execute(f"{change} WHERE position = $1", victim["position"])
        walk = Walk(is_dense=True)
        found = [walk.step(event, None, event["hash"]) for event in await forms(owner)]
        await transaction.rollback()

        assert any(found), column


async def test_an_altered_event_is_named(
    trail: list[dict[str, Any]], owner: asyncpg.Connection
) -> None:
    victim = trail[-3]
    async with unguarded(owner):
        await owner.execute(
            "UPDATE audit_event SET address = '198.51.100.1' WHERE id = $1::text::uuid",
            victim["id"],
        )

    walk, broken = await verify(None, {})

    assert broken is not None
    assert (broken.account_id, broken.sequence) == (victim["account_id"], victim["sequence"])
    assert broken.what == "The event, or its hash, was altered."
    assert walk.position == victim["position"] - 1


async def test_an_event_missing_in_the_middle_is_found_in_the_chain_and_in_the_trail(
    trail: list[dict[str, Any]], owner: asyncpg.Connection, platform: Platform
) -> None:
    victim = trail[-3]
    async with unguarded(owner):
        await owner.execute("DELETE FROM audit_event WHERE position = $1", victim["position"])

    _, of_account = await verify(platform.customer.account_id, {})
    _, of_all = await verify(None, {})

    assert of_account is not None
    assert of_account == of_all
    assert of_account.sequence == victim["sequence"] + 1
    assert of_account.what.startswith(f"The event {victim['sequence']} of the chain is missing")


async def test_the_last_event_of_an_account_is_missed_by_its_position_in_the_trail(
    trail: list[dict[str, Any]], owner: asyncpg.Connection, platform: Platform
) -> None:
    last_of_stranger = max(
        event["position"]
        for event in trail
        if event["account_id"] == str(platform.stranger.account_id)
    )
    async with unguarded(owner):
        await owner.execute("DELETE FROM audit_event WHERE position = $1", last_of_stranger)

    _, of_account = await verify(platform.stranger.account_id, {})
    _, of_all = await verify(None, {})

    assert of_account is None
    assert of_all is not None
    assert of_all.what == f"The event at position {last_of_stranger} of the trail is missing."


async def test_two_events_that_changed_places_are_found(
    trail: list[dict[str, Any]], owner: asyncpg.Connection
) -> None:
    one, other = trail[-3], trail[-2]
    free = {"position": 10**6, "sequence": 10**6}
    async with unguarded(owner):
        for event, place in ((one, free), (other, one), (one, other)):
            await owner.execute(
                "UPDATE audit_event SET position = $1, sequence = $2, hash = $3"
                " WHERE id = $4::text::uuid",
                *(place["position"], place["sequence"], place.get("hash", bytes(32)), event["id"]),
            )

    _, broken = await verify(None, {})

    assert broken is not None
    assert broken.sequence == one["sequence"]
    assert broken.what == "The event, or its hash, was altered."


async def test_a_cut_of_the_newest_events_is_found_by_a_kept_head_alone(
    trail: list[dict[str, Any]], owner: asyncpg.Connection
) -> None:
    kept = (await verify(None, {}))[0].heads
    newest = trail[-1]
    async with unguarded(owner):
        await owner.execute("DELETE FROM audit_event WHERE position = $1", newest["position"])

    _, unseen = await verify(None, {})
    _, seen = await verify(None, kept)

    assert unseen is None
    assert seen is not None
    assert (seen.account_id, seen.sequence) == (newest["account_id"], newest["sequence"])
    assert "are missing" in seen.what


async def test_a_chain_that_was_made_anew_does_not_pass_through_a_kept_head(
    service: Service, trail: list[dict[str, Any]], owner: asyncpg.Connection
) -> None:
    kept = (await verify(None, {}))[0].heads
    async with unguarded(owner):
        await owner.execute("UPDATE audit_event SET position = NULL, sequence = NULL, hash = NULL")
        await owner.execute(
            "UPDATE audit_event SET address = NULL WHERE id = $1::text::uuid", trail[-3]["id"]
        )
    await service.sealer.seal()

    _, unseen = await verify(None, {})
    _, seen = await verify(None, kept)

    assert unseen is None
    assert seen is not None
    assert seen.what == "The event is another than the head that was kept."


async def test_heads_are_read_as_they_were_written(trail: list[dict[str, Any]]) -> None:
    heads = (await verify(None, {}))[0].heads
    assert len(trail) > len(heads) > 1

    assert read_heads(write_heads(heads)) == heads
    for wrong in ("", "x 1 00", "00000000-0000-0000-0000-000000000000 one 00", "a b"):
        with pytest.raises(InvalidInput, match="Line 1 is no head"):
            read_heads([wrong])


# Exports --------------------------------------------------------------------------------------


async def test_an_export_is_the_whole_trail_and_can_be_checked_without_a_database(
    trail: list[dict[str, Any]],
) -> None:
    exported = await collected(export_everything(Extract()))
    lines = write(exported, Format.JSONL).splitlines()

    walk, broken = verify_lines(lines, {})
    assert (broken, walk.count, walk.unproven) == (None, len(trail), 0)
    assert [json.loads(line)["hash"] for line in lines] == [e["hash"].hex() for e in trail]
    for victim in range(0, len(lines), 5):
        altered = lines[victim].replace('"action":"', '"action":"x')
        assert verify_lines([*lines[:victim], altered, *lines[victim + 1 :]], {})[1] is not None


async def test_an_export_of_one_account_is_its_chain(
    trail: list[dict[str, Any]], platform: Platform
) -> None:
    account_id = platform.customer.account_id
    lines = write(await collected(export_everything(Extract(account_id))), Format.JSONL)

    walk, broken = verify_lines(lines.splitlines(), {})

    own = [event for event in trail if event["account_id"] == str(account_id)]
    assert (broken, walk.count) == (None, len(own))
    without = lines.splitlines()
    del without[2]
    assert verify_lines(without, {})[1] is not None


async def test_a_span_is_exported_as_a_whole_piece_of_the_chain(
    trail: list[dict[str, Any]], platform: Platform, clock: FrozenClock
) -> None:
    since, until = clock.now() - timedelta(minutes=3), clock.now()
    extract = Extract(platform.customer.account_id, since, until)

    lines = write(await collected(export_everything(extract)), Format.JSONL).splitlines()

    assert [json.loads(line)["id"] for line in lines] == [event["id"] for event in trail[-4:-1]]
    walk, broken = verify_lines(lines, {})
    assert (broken, walk.count, walk.unproven) == (None, 3, 0)
    altered = [lines[0].replace("192.0.2.7", "192.0.2.8"), *lines[1:]]
    assert verify_lines(altered, {})[1] is not None
    before_everything = Extract(until=clock.now() - timedelta(days=999))
    assert await collected(export_everything(before_everything)) == []


async def test_what_somebody_above_did_is_exported_without_who_and_from_where(
    service: Service, trail: list[dict[str, Any]], platform: Platform
) -> None:
    """A customer takes such an event by its hash; its reseller's export proves it."""
    created = await make_token(service, platform.reseller, account_id=platform.customer.account_id)
    await make_token(service, platform.customer)
    await service.sealer.seal()
    assert trail

    customer = await collected(export_for(platform.customer, Extract()))
    reseller = await collected(export_for(platform.reseller, Extract()))

    [theirs] = [event for event in customer if event["subject_id"] == str(created.token.id)]
    [ours] = [event for event in reseller if event["subject_id"] == str(created.token.id)]
    hidden = ("actor_member_id", "actor_token_id", "address")
    assert [theirs[name] for name in hidden] == [None, None, None]
    assert [ours[name] for name in hidden] == [
        str(platform.reseller.member_id),
        str(platform.reseller.token_id),
        "192.0.2.7",
    ]
    assert theirs["actor_account_id"] == str(platform.reseller.account_id)
    assert {event["account_id"] for event in customer} == {str(platform.customer.account_id)}
    walk, broken = verify_lines(write(customer, Format.JSONL).splitlines(), {})
    assert broken is None
    assert walk.unproven == sum(event["redacted"] for event in customer) >= 1
    walk, broken = verify_lines(write(reseller, Format.JSONL).splitlines(), {})
    assert broken is None


async def test_an_export_needs_the_scope_and_sensible_instants(
    service: Service, platform: Platform, clock: FrozenClock
) -> None:
    narrow = (await make_token(service, platform.customer)).token
    actor = type(platform.customer)(
        account_id=platform.customer.account_id,
        account_kind=platform.customer.account_kind,
        reseller_id=platform.customer.reseller_id,
        token_id=narrow.id,
        secret_id=None,
        kind=platform.customer.kind,
        scopes=narrow.scopes,
    )
    with pytest.raises(InsufficientScope):
        await collected(export_for(actor, Extract()))
    with pytest.raises(InvalidInput):
        await collected(
            export_for(platform.customer, Extract(since=clock.now().replace(tzinfo=None)))
        )


async def test_no_cell_of_a_spreadsheet_is_a_formula_and_every_cell_can_be_read_back(
    service: Service, platform: Platform
) -> None:
    await make_token(service, platform.customer, name='=1+1, "quoted";=2+2')
    await service.sealer.seal()
    events = await collected(export_everything(Extract(platform.customer.account_id)))
    events[0]["request_id"] = "=HYPERLINK(1)"
    for victim, start in zip(events, ("+", "-", "@", "\t", "\r", "\n"), strict=False):
        victim["address"] = f"{start}1"

    text = first_line(Format.CSV) + write(events, Format.CSV)

    rows = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert rows[0] == list(CELLS)
    assert text.count("\r\n") == len(rows)
    assert ";" not in text, "some spreadsheets split there"
    cells = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    assert not any(
        cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row
    )
    assert cells[0]["request_id"] == "'=HYPERLINK(1)"
    assert cells[0]["address"] == "'+1"
    assert json.loads(cells[-1]["details"]) == events[-1]["details"]
    assert [cell["hash"] for cell in cells] == [event["hash"] for event in events]


LINE = (
    '{"account_id": "0000000%s-0000-7000-8000-000000000000", "sequence": %s, "position": 1,'
    ' "redacted": true, "previous_hash": null, "hash": "00"}'
)
HOSTILE = [
    "",
    "{}",
    "[]",
    "null",
    '{"hash": "xx"}',
    "[" * 100_000,
    LINE % ("0", '1, "sequence": 1'),
    LINE % ("0", "NaN"),
    LINE % ("0", "1.0"),
    LINE % ("0", '"\\u001b[31m"'),
    LINE % ("\\u001b[31m", "1"),
    LINE % ("\udcff", "1"),
]


@pytest.mark.parametrize("line", HOSTILE)
def test_a_line_that_is_none_of_an_export_is_named(line: str) -> None:
    assert verify_lines([LINE % ("0", "1")], {})[1] is None

    with pytest.raises(InvalidInput, match="Line 1 is not one of an export"):
        verify_lines([line], {})


def test_an_extract_that_does_not_tell_what_came_before_is_taken_by_its_first_hash() -> None:
    event = dict.fromkeys(CELLS) | {"account_id": "a", "sequence": 7, "position": 9}
    walk = Walk(is_whole=False)

    assert walk.step(event, None, b"x" * 32) is None
    assert (walk.heads, walk.unproven) == ({"a": Head(7, b"x" * 32)}, 1)
    assert Walk().step(event, None, b"x" * 32) is not None
    assert Head().hash == FIRST_PREVIOUS
