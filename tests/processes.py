"""What a process that a test starts is given: none of the tests' own settings."""

import os


def environment(**settings: str) -> dict[str, str]:
    """Return an environment of these settings, by their names without the prefix.

    Coverage's own variables are passed on, so that what runs in the child counts.
    """
    coverage = {
        name: value
        for name, value in os.environ.items()  # noqa: TID251 - only coverage's own are passed on
        if name.startswith("COVERAGE_")
    }
    named = {f"TOKENWARD_{name.upper()}": value for name, value in settings.items()}
    return {"PATH": os.defpath, **coverage, **named}
