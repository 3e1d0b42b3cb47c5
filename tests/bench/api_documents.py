"""What a request costs whose document is known, beside the same one that has to be read first."""

import json
from itertools import count

from api_scene import ApiScene, Client, api_scene
from bench_scene import Scene
from measured import Measured
from web_process import CPU_SECONDS_MIN

RATIO_MIN = 4.0

# What it asks for is little, so that it is the reading that counts; its words are a page's.
DOCUMENT = """
query Page($first: Int!) {
  viewer { __typename account { id name kind status createdAt } }
  tokens(first: $first, orderBy: {field: CREATED_AT}) {
    edges { cursor node { ...Line account { id name } createdBy { email isDelegated } } }
    pageInfo { hasNextPage endCursor }
  }
}
fragment Line on ApiToken {
  id name status scopes allowedIpRanges audiences prefix lastFour createdAt notBefore expiresAt
  lastUsedAt lastUsedAddress suspendedAt revokedAt revocationReason description metadata version
}
"""

_numbers = count()


async def measure_documents(scene: Scene) -> list[Measured]:
    """Measure both, turn by turn."""
    async with api_scene(scene, "documents") as api:
        client = await Client.open(api.web)
        known, new = 0.0, 0.0
        for _ in range(scene.sizes.rounds):
            known += await _cpu_seconds(api, client, scene.sizes.documents, is_new=False)
            new += await _cpu_seconds(api, client, scene.sizes.documents, is_new=True)
        client.close()
    asked = scene.sizes.rounds * scene.sizes.documents
    return [
        Measured(
            "a page whose document is known, CPU",
            f"{known / asked * 1e3:.2f} ms",
            f"read anew each time: {new / asked * 1e3:.2f} ms",
            new / known,
            f"≥ {RATIO_MIN:.0f}",
            new / known >= RATIO_MIN,
        )
    ]


async def _cpu_seconds(api: ApiScene, client: Client, asked: int, *, is_new: bool) -> float:
    used = api.web.cpu_seconds()
    for _ in range(asked):
        text = f"{DOCUMENT}# {next(_numbers)}" if is_new else DOCUMENT
        body = json.dumps({"query": text, "variables": {"first": 1}}).encode()
        await client.ask(body, api.callers["account"].secret)
    return max(CPU_SECONDS_MIN, api.web.cpu_seconds() - used)
