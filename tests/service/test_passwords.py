"""A password is hashed dearly, for nobody as for somebody, and by a few threads only."""

import asyncio
import threading
from collections.abc import Iterator
from types import FrameType

import pytest
from argon2 import PasswordHasher
from pwdlib.hashers.argon2 import Argon2Hasher

from service.errors import InvalidInput
from service.passwords import THREADS, Passwords

PASSWORD = "correct horse battery staple"
COST = "$argon2id$v=19$m=19456,t=2,p=1$"


@pytest.fixture
def passwords() -> Passwords:
    return Passwords()


@pytest.fixture
def verified() -> Iterator[list[str]]:
    """The hashes that threads which start from now on really compute against."""
    seen: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code is PasswordHasher.verify.__code__:
            seen.append(str(frame.f_locals["hash"]))

    threading.setprofile(note)
    yield seen
    threading.setprofile(None)


def weak_hash(password: str) -> str:
    """Return a hash as an older policy made it."""
    return Argon2Hasher(time_cost=1, memory_cost=64, parallelism=1).hash(password)


async def test_a_password_is_right_for_its_own_hash_alone(passwords: Passwords) -> None:
    known = await passwords.hash(PASSWORD)

    assert await passwords.verify(PASSWORD, known) == (True, None)
    for wrong in ("", PASSWORD.upper(), PASSWORD[:-1], PASSWORD + " ", PASSWORD + "\0"):
        assert await passwords.verify(wrong, known) == (False, None)


async def test_a_hash_is_argon2id_at_the_published_cost_and_salted(passwords: Passwords) -> None:
    hashes = [await passwords.hash(PASSWORD) for _ in range(2)]

    assert all(text.startswith(COST) for text in hashes)
    assert hashes[0] != hashes[1]
    assert PASSWORD not in hashes[0]


async def test_for_nobody_the_same_work_is_done_in_vain(
    passwords: Passwords, verified: list[str]
) -> None:
    known = await passwords.hash(PASSWORD)

    assert await passwords.verify(PASSWORD, None) == (False, None)
    assert await passwords.verify("a wrong password", known) == (False, None)

    assert len(verified) == 2
    assert all(text.startswith(COST) for text in verified)
    assert verified[0] != verified[1] == known


async def test_nobody_has_no_password_at_all(passwords: Passwords) -> None:
    for guess in ("nobody signs in with this", "", PASSWORD):
        assert await passwords.verify(guess, None) == (False, None)


async def test_a_weaker_hash_is_replaced_once_the_password_is_right(passwords: Passwords) -> None:
    right, renewed = await passwords.verify(PASSWORD, weak_hash(PASSWORD))

    assert right
    assert renewed is not None
    assert renewed.startswith(COST)
    assert await passwords.verify(PASSWORD, renewed) == (True, None)


async def test_a_weaker_hash_is_not_replaced_by_a_wrong_password(passwords: Passwords) -> None:
    assert await passwords.verify("a wrong password", weak_hash(PASSWORD)) == (False, None)


@pytest.mark.parametrize("known", ["junk", "$argon2id$v=19$m=19456,t=2,p=1$", PASSWORD, "\0"])
async def test_a_broken_hash_lets_nobody_in(passwords: Passwords, known: str) -> None:
    assert await passwords.verify(PASSWORD, known) == (False, None)


async def test_an_empty_hash_lets_nobody_in(passwords: Passwords) -> None:
    assert await passwords.verify("nobody signs in with this", "") == (False, None)


@pytest.mark.parametrize("length", [12, 200])
async def test_12_to_200_characters_are_a_password(passwords: Passwords, length: int) -> None:
    password = "\U0001f680" * length

    known = await passwords.hash(password)

    assert await passwords.verify(password, known) == (True, None)


@pytest.mark.parametrize("length", [0, 11, 201, 2**20])
async def test_a_shorter_or_longer_password_is_refused(passwords: Passwords, length: int) -> None:
    with pytest.raises(InvalidInput) as refused:
        await passwords.hash("a" * length)

    assert refused.value.message == "Use 12 to 200 characters."
    assert refused.value.field == "password"


async def test_a_password_beyond_the_limit_is_wrong_without_any_work(
    passwords: Passwords, verified: list[str]
) -> None:
    assert await passwords.verify("a" * 2**20, None) == (False, None)
    assert await passwords.verify("a" * 201, await passwords.hash(PASSWORD)) == (False, None)

    assert verified == []


async def test_a_password_with_half_a_surrogate_pair_is_wrong_and_cannot_be_set(
    passwords: Passwords,
) -> None:
    password = "\ud800" * 12

    assert await passwords.verify(password, None) == (False, None)
    with pytest.raises(InvalidInput):
        await passwords.hash(password)


async def test_a_flood_of_sign_ins_is_worked_off_by_a_few_threads(passwords: Passwords) -> None:
    before = set(threading.enumerate())

    answers = await asyncio.gather(*(passwords.verify(PASSWORD, None) for _ in range(8)))

    started = [thread for thread in set(threading.enumerate()) - before if "argon2" in thread.name]
    assert answers == [(False, None)] * 8
    assert len(started) == THREADS == 2


async def test_the_event_loop_goes_on_while_a_hash_is_computed(passwords: Passwords) -> None:
    work = asyncio.ensure_future(passwords.verify(PASSWORD, None))

    turns = 0
    while not work.done():
        turns += 1
        await asyncio.sleep(0)

    assert turns > 1
    assert work.result() == (False, None)
