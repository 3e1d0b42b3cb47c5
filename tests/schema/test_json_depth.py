"""How deep a body may be nested depends on the stack; at no depth is it a surprise."""

from cross_web import HTTPException

from schema.operation_request import read_json


def is_taken(depth: int) -> bool:
    try:
        read_json(b"[" * depth + b"]" * depth)
    except HTTPException:
        return False
    return True


def test_what_can_be_read_but_not_be_written_again_is_refused_as_well() -> None:
    deepest = next(depth for depth in range(1_000, 0, -1) if is_taken(depth))

    assert 100 < deepest < 1_000
