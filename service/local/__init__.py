"""What one machine needs for development and tests; production never imports it.

- ``leash``: a program that starts another one and ties its life to its parent's.
- ``child``: start, stop and wait for child processes.
- ``servers``: a real PostgreSQL and a real Valkey, out of wheels.
- ``mail_sink``: an SMTP server that delivers to a page.
- ``program``: a command that is kept running.
- ``supervisor``: all of it together, as ``tokenward run``.
- ``summary``: what ``tokenward run`` tells when it is ready.
"""
