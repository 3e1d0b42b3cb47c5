"""The mail sink: it keeps what is sent and shows it without trusting a word of it."""

import json
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from service.local.child import LOOPBACK, free_port, spawn, stop
from service.local.mail_sink import SANDBOX, Mailbox

HOSTILE = "<script>alert(1)</script>"


class Sink:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.smtp_port = free_port()
        self.http_port = free_port()

    def start(self) -> subprocess.Popen[bytes]:
        ports = ("--smtp-port", str(self.smtp_port), "--http-port", str(self.http_port))
        command = [sys.executable, "-m", "service.local.mail_sink", *ports]
        process = spawn([*command, "--directory", self.directory], signal.SIGTERM)
        eventually(lambda: self.answers() or process.poll() is not None)
        return process

    def answers(self) -> bool:
        try:
            return self.get("/").status == 200
        except OSError:
            return False

    def get(self, path: str, host: str = "localhost") -> HTTPResponse:
        connection = HTTPConnection(LOOPBACK, self.http_port, timeout=5)
        connection.request("GET", path, headers={"Host": host, "Connection": "close"})
        return connection.getresponse()

    def text(self, path: str) -> str:
        with self.get(path) as response:
            assert response.status == 200
            return response.read().decode()

    def send(self, message: EmailMessage) -> None:
        with smtplib.SMTP(LOOPBACK, self.smtp_port, timeout=5) as client:
            client.send_message(message)


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    sink = Sink(tmp_path / "mail")
    process = sink.start()
    yield sink
    stop(process, signal.SIGTERM, 5)


def eventually(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


def make_message(subject: str, *, text: str = "Hello", html: str = "") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "sender@example.com"
    message["To"] = "ada@example.com"
    message["Subject"] = subject
    message.set_content(text)
    if html:
        message.add_alternative(html, subtype="html")
    return message


def test_messages_are_kept_and_listed_newest_first(sink: Sink) -> None:
    sink.send(make_message("first", text="Grüße"))
    sink.send(make_message("second"))

    listed: list[dict[str, Any]] = json.loads(sink.text("/messages.json"))

    assert [message["subject"] for message in listed] == ["second", "first"]
    assert listed[1]["from"] == "sender@example.com"
    assert listed[1]["to"] == "ada@example.com"
    assert listed[1]["text"].strip() == "Grüße"
    page = sink.text("/")
    assert page.index("second") < page.index("first")


def test_a_message_cannot_inject_anything_into_the_page(sink: Sink) -> None:
    sink.send(make_message(f"subject {HOSTILE}", text=f"text {HOSTILE}", html=f"<p>{HOSTILE}"))

    pages = [sink.text("/"), sink.text("/messages/1")]

    assert all("<script" not in page for page in pages)
    assert all("&lt;script&gt;" in page for page in pages)
    assert f'<iframe sandbox="{SANDBOX}" ' in pages[1]
    with sink.get("/messages/1/html") as frame:
        policy = frame.getheader("content-security-policy") or ""
    assert f"sandbox {SANDBOX};" in policy
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy


def test_a_link_of_a_message_opens_a_page_outside_the_frame(sink: Sink) -> None:
    sink.send(make_message("a link", html='<a href="http://127.0.0.1/reset-password#x">Choose</a>'))

    with sink.get("/messages/1/html") as frame:
        html = frame.read().decode()
        policy = frame.getheader("content-security-policy") or ""

    assert '<base target="_blank">' in html
    assert "allow-popups allow-popups-to-escape-sandbox" in policy


def test_a_page_of_another_name_gets_nothing(sink: Sink) -> None:
    with sink.get("/messages.json", host="rebound.example") as response:
        assert response.status == 400


def test_a_missing_message_is_not_found(sink: Sink) -> None:
    with sink.get("/messages/7") as response:
        assert response.status == 404


def test_messages_survive_a_restart(tmp_path: Path) -> None:
    Mailbox(tmp_path).add(make_message("before").as_bytes())

    Mailbox(tmp_path).add(make_message("after").as_bytes())

    subjects = [message.subject for message in Mailbox(tmp_path).latest()]
    assert subjects == ["after", "before"]


def test_a_message_in_an_unknown_charset_is_still_shown(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path)

    mailbox.add(b"Subject: odd\r\nContent-Type: text/plain; charset=klingon\r\n\r\nqapla\r\n")

    [message] = mailbox.latest()
    assert message.subject == "odd"
    assert message.text.strip() == "qapla"
