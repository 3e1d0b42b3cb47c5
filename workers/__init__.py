"""Celery only: when to run, and how often to retry. Each task is one call into service.

=====================  ==========  ===============================================================
task                   every       why a second run, late or at the same time, is harmless
=====================  ==========  ===============================================================
relay_revocations      second      a drop only ever makes a validator look again
seal_trail             2 seconds   an event is sealed once; sealers wait for each other
run_jobs               2 seconds   a job is done by one at a time, and each item of it once
sweep_expired_tokens   minute      a row is marked once; validators never wait for the mark
recount_tokens         minute      a token that was counted is not due any more
complete_rotations     minute      a secret is ended once; validators enforce the grace themselves
probe_revocation       minute      each run has a token of its own
send_expiry_notices    15 minutes  the ledger has one row per token, expiry, threshold, recipient
flush_usage            10 seconds  a last use only ever moves forward
=====================  ==========  ===============================================================

The broker carries hints and no truth: a task has no arguments, and reads in the database what is
due. A broker that loses everything costs the time until the next beat; two beats cost nothing.

tasks    what is run
app      the Celery application: how it talks to the broker, and the schedule
strategy what becomes of messages that nobody can read
runtime  one event loop and one open service per process
"""
