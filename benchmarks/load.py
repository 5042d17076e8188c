"""Clients that keep a prediction server busy, each with one request under way, and what they saw.

    python -m benchmarks.load URL BODIES [--clients N] [--seconds S]

BODIES is a file with a JSON body a line; each client goes through them from a place of its own. Written on sockets: a
client library costs more than the servers that are measured here. Prints one line of JSON: `requests` that were
answered with 200, `failed`, `rate` a second, and the latencies `p50`, `p99` and `worst`, in seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import time
from pathlib import Path
from urllib.parse import urlsplit

OK = b"HTTP/1.1 200"


async def client(url: str, requests: list[bytes], until: float, first: int) -> tuple[list[float], int]:
    """Send one request after the other on one connection; the seconds of each, and how many failed."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    took, failed, turn = [], 0, first
    while time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(requests[turn % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(length_of(head))
        if head.startswith(OK):
            took.append(time.perf_counter() - began)
        else:
            failed += 1
        turn += 1
    writer.close()
    return took, failed


def length_of(head: bytes) -> int:
    """The length of the body that follows a response's head.

    Raises:
        ValueError: if it does not say so.
    """
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    raise ValueError(f"no content-length in {head!r}")


def as_request(url: str, body: bytes) -> bytes:
    """The bytes of one request."""
    place = urlsplit(url)
    target = place.path + (f"?{place.query}" if place.query else "")
    head = f"POST {target} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: application/json\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


async def load(url: str, bodies: list[bytes], clients: int, seconds: float) -> dict[str, float]:
    """Keep so many clients at it for so long."""
    requests = [as_request(url, body) for body in bodies]
    began = time.perf_counter()
    steps = max(1, len(requests) // clients)
    found = await asyncio.gather(*(client(url, requests, began + seconds, each * steps) for each in range(clients)))
    elapsed = time.perf_counter() - began
    took = sorted(one for each, _ in found for one in each)
    if not took:
        return {"requests": 0, "failed": sum(failed for _, failed in found)}

    def quantile(share: float) -> float:
        return took[min(len(took) - 1, math.ceil(share * len(took)) - 1)]

    return {
        "requests": len(took), "failed": sum(failed for _, failed in found), "rate": len(took) / elapsed,
        "p50": quantile(0.5), "p99": quantile(0.99), "worst": took[-1],
    }  # fmt: skip


def main() -> None:
    """Load a server and print what was seen."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("url")
    asked.add_argument("bodies", type=Path)
    asked.add_argument("--clients", type=int, default=8)
    asked.add_argument("--seconds", type=float, default=10)
    options = asked.parse_args()
    bodies = options.bodies.read_bytes().splitlines()
    print(json.dumps(asyncio.run(load(options.url, bodies, options.clients, options.seconds))))


if __name__ == "__main__":
    main()
