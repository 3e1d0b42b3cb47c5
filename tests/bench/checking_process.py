"""A validator that checks many secrets again and again. Run as a program by ``database_load.py``.

    checking_process.py <file of secrets> <seconds>

It says ``ready`` when it has checked for a while, and at the end how many checks came after and
how many of them nobody could answer.
"""

import asyncio
import sys
from collections import Counter
from pathlib import Path

import click

from service.clock import boottime
from service.logs import configure_logs
from service.settings import read_settings
from service.validator import Validator, open_validator
from service.verdict import Status

ROUND_SECONDS = 1.0
AT_ONCE = 500
ALLOWED = {Status.VALID, Status.UNAVAILABLE}


async def _check_for(validator: Validator, secrets: list[str], seconds: float) -> Counter[Status]:
    """Check every secret once a second, evenly; return how often which answer came."""
    answers: Counter[Status] = Counter()
    until = boottime() + seconds
    round_seconds = min(ROUND_SECONDS, seconds)
    while (began := boottime()) < until:
        for first in range(0, len(secrets), AT_ONCE):
            some = secrets[first : first + AT_ONCE]
            verdicts = await asyncio.gather(*map(validator.check, some))
            answers.update(verdict.status for verdict in verdicts)
            due = began + round_seconds * (first + len(some)) / len(secrets)
            await asyncio.sleep(max(0.0, due - boottime()))
    return answers


async def main(secrets: list[str], seconds: float) -> None:
    """Warm up, and check."""
    settings = read_settings()
    configure_logs(settings)
    async with open_validator(settings) as validator:
        await _check_for(validator, secrets, seconds / 2)
        click.echo("ready")
        answers = await _check_for(validator, secrets, seconds)
        assert set(answers) <= ALLOWED, answers
        click.echo(f"{answers.total()} {answers[Status.UNAVAILABLE]}")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]).read_text().split(), float(sys.argv[2])))
