"""``python -m schema.export``: write the committed SDL anew."""

from pathlib import Path

from schema.root import build_schema

SDL = Path(__file__).with_name("schema.graphql")


def sdl() -> str:
    """Return the schema as text."""
    return build_schema(production=False).as_str().rstrip() + "\n"


if __name__ == "__main__":
    SDL.write_text(sdl(), encoding="utf-8")
