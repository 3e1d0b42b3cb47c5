"""An SMTP server for development: it delivers every e-mail to a page and nowhere else.

``python -m service.local.mail_sink --smtp-port N --http-port N --directory D``
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import click
import uvicorn
from aiosmtpd.smtp import SMTP, Envelope, Session
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from service.local.child import LOOPBACK

LISTED_MAX = 200

PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'"
# A link of the message opens a page of its own, with that page's rights; the frame itself has none.
SANDBOX = "allow-popups allow-popups-to-escape-sandbox"
MESSAGE_POLICY = f"sandbox {SANDBOX}; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
LINKS_OPEN_OUTSIDE = '<base target="_blank">'

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ message.subject if message else "E-mail" }}</title>
<style>
  :root { color-scheme: light dark }
  body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: auto; padding: 1rem }
  table { border-collapse: collapse; width: 100% }
  th, td { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid #8884 }
  pre { white-space: pre-wrap; overflow-wrap: anywhere }
  iframe { width: 100%; height: 40rem; border: 1px solid #8884; background: #fff }
</style>
{% if message %}
<p><a href="/">All e-mails</a></p>
<h1>{{ message.subject }}</h1>
<p>From {{ message.sender }}<br>To {{ message.recipients }}<br>{{ message.date }}</p>
<pre>{{ message.text | urlize(rel="noreferrer") }}</pre>
{% if message.html %}
<iframe sandbox="{{ sandbox }}" src="/messages/{{ message.number }}/html"
  title="The message as HTML"></iframe>
{% endif %}
{% else %}
<h1>E-mail</h1>
<table>
<thead><tr><th>Subject<th>To<th>From<th>Date</thead>
{% for message in messages %}
<tr><td><a href="/messages/{{ message.number }}">{{ message.subject or "(no subject)" }}</a>
<td>{{ message.recipients }}<td>{{ message.sender }}<td>{{ message.date }}
{% else %}
<tr><td colspan="4">No e-mail has been sent yet.
{% endfor %}
</table>
{% endif %}
</html>
"""


@dataclass(frozen=True)
class Message:
    """One delivered e-mail, as it is shown; every text is the sender's and not to be trusted.

    Attributes:
        number: Its place in the order of arrival, from 1.
        html: Its HTML part, or an empty text.
    """

    number: int
    sender: str
    recipients: str
    subject: str
    date: str
    text: str
    html: str


class Mailbox:
    """The e-mails of a directory, a file ``<number>.eml`` each; they outlive the process."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory

    def add(self, content: bytes) -> None:
        """Keep a message, whole or not at all."""
        number = max(self._numbers(), default=0) + 1
        unfinished = self._directory / "unfinished"
        unfinished.write_bytes(content)
        unfinished.rename(self._path(number))

    def latest(self) -> list[Message]:
        """Return the newest 200 messages, the newest first."""
        newest = sorted(self._numbers(), reverse=True)[:LISTED_MAX]
        return [self.get(number) for number in newest]

    def get(self, number: int) -> Message:
        """Return one message.

        Raises:
            FileNotFoundError: If there is none.
        """
        parsed = message_from_bytes(self._path(number).read_bytes(), policy=default)
        return Message(
            number=number,
            sender=str(parsed["from"] or ""),
            recipients=str(parsed["to"] or ""),
            subject=str(parsed["subject"] or ""),
            date=str(parsed["date"] or ""),
            text=_part(parsed, "plain"),
            html=_part(parsed, "html"),
        )

    def _numbers(self) -> list[int]:
        return [int(path.stem) for path in self._directory.glob("*.eml") if path.stem.isdigit()]

    def _path(self, number: int) -> Path:
        return self._directory / f"{number:06}.eml"


def _part(message: EmailMessage, subtype: str) -> str:
    part = message.get_body((subtype,))
    if part is None:
        return ""
    try:
        return str(part.get_content())
    except LookupError:  # a charset that nobody knows
        return bytes(part.get_payload(decode=True) or b"").decode(errors="replace")


class Delivery:
    """What aiosmtpd calls with each message."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope
    ) -> str:
        """Accept the message."""
        content = envelope.content or b""
        self._mailbox.add(content.encode() if isinstance(content, str) else content)
        return "250 Delivered"


class Pages:
    """The pages over a mailbox."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._page = Environment(autoescape=True).from_string(PAGE)

    def show_all(self, _request: Request) -> Response:
        """List the messages."""
        return self._show(messages=self._mailbox.latest())

    def show_one(self, request: Request) -> Response:
        """Show one message; its HTML part only as a frame that can do no more than open links."""
        return self._show(message=self._find(request), sandbox=SANDBOX)

    def show_html(self, request: Request) -> Response:
        """Return the HTML part of one message, for the frame."""
        html = self._find(request).html + LINKS_OPEN_OUTSIDE
        return HTMLResponse(html, headers={"content-security-policy": MESSAGE_POLICY})

    def list_all(self, _request: Request) -> Response:
        """List the messages for programs."""
        return JSONResponse([_as_json(message) for message in self._mailbox.latest()])

    def _find(self, request: Request) -> Message:
        try:
            return self._mailbox.get(request.path_params["number"])
        except FileNotFoundError:
            raise HTTPException(404, "There is no such message.") from None

    def _show(self, **values: object) -> Response:
        html = self._page.render(values)
        return HTMLResponse(html, headers={"content-security-policy": PAGE_POLICY})


def build_app(mailbox: Mailbox, smtp_port: int) -> Starlette:
    """Return the pages; while they are served, so is SMTP on ``smtp_port`` of the loopback."""

    @contextlib.asynccontextmanager
    async def serve_smtp(_app: Starlette) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        delivery = Delivery(mailbox)
        server = await loop.create_server(
            lambda: SMTP(delivery, hostname="localhost", enable_SMTPUTF8=True, loop=loop),
            LOOPBACK,
            smtp_port,
        )
        async with server:
            yield

    pages = Pages(mailbox)
    return Starlette(
        routes=[
            Route("/", pages.show_all),
            Route("/messages.json", pages.list_all),
            Route("/messages/{number:int}", pages.show_one),
            Route("/messages/{number:int}/html", pages.show_html),
        ],
        # The e-mails hold sign-in links: a page of another name that resolves to us gets nothing.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])],
        lifespan=serve_smtp,
    )


def _as_json(message: Message) -> dict[str, object]:
    return {
        "id": message.number,
        "from": message.sender,
        "to": message.recipients,
        "subject": message.subject,
        "date": message.date,
        "text": message.text,
    }


@click.command()
@click.option("--smtp-port", type=int, required=True, help="Where e-mails are accepted.")
@click.option("--http-port", type=int, required=True, help="Where they are shown.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Where they are kept.",
)
def main(smtp_port: int, http_port: int, directory: Path) -> None:
    """Accept e-mails on a loopback port and show them on another one."""
    os.umask(0o077)  # links in e-mails are secrets
    app = build_app(Mailbox(directory), smtp_port)
    uvicorn.run(app, host=LOOPBACK, port=http_port, log_level="warning")


if __name__ == "__main__":
    main()
