"""What ``tokenward run`` tells when everything is ready."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Summary:
    """Addresses and sign-ins of a running service.

    Attributes:
        address: Where it answers, without a slash at the end.
        mail_address: The page of the mail sink; None where a real relay is used.
        sign_ins: ``{who, email, password}`` each.
        secret: A token's secret to try, or None.
        seconds: How long the start took.
        environment: A file for shells, with the settings of this run.
    """

    address: str
    mail_address: str | None
    seconds: float
    sign_ins: list[dict[str, Any]] = field(repr=False)
    secret: str | None = field(repr=False)
    environment: Path

    def __str__(self) -> str:
        blocks = [
            f"Tokenward is ready after {self.seconds:.1f} s. Ctrl-C stops it.",
            self._addresses(),
            self._sign_ins(),
            self._example(),
            self._commands(),
        ]
        lines = "\n\n".join(block for block in blocks if block).splitlines()
        return "\n" + "\n".join(f"  {line}".rstrip() for line in lines) + "\n"

    def _addresses(self) -> str:
        lines = [f"Page      {self.address}/", f"GraphQL   {self.address}/graphql"]
        if self.mail_address:
            lines.append(f"E-mail    {self.mail_address}/")
        return "\n".join(lines)

    def _sign_ins(self) -> str:
        if not self.sign_ins:
            return ""
        keys = ("who", "email", "password")
        rows = [[str(sign_in.get(key, "")) for key in keys] for sign_in in self.sign_ins]
        widths = [max(len(row[column]) for row in rows) for column in range(len(keys))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        ]
        return "\n".join(["Sign in as", *lines])

    def _example(self) -> str:
        if not self.secret:
            return ""
        return (
            "Is this token valid?\n"
            f"curl -i {self.address}/validate -H 'Authorization: Bearer {self.secret}'"
        )

    def _commands(self) -> str:
        return (
            "Other commands work on it in a shell that has read its settings:\n"
            f". {shlex.quote(str(self.environment))}; .venv/bin/tokenward audit verify"
        )
