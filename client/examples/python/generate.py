"""Draws one image with a tightfit server: progress, error details, retries, TLS and token.

pip install ./client/python && python client/examples/python/generate.py "red apple" apple.png
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import tightfit

SECONDS = 600.0


def connect() -> tightfit.Client:
    """The address is $TIGHTFIT_SERVER, the token $TIGHTFIT_TOKEN: the client knows both.

    It retries what may be retried: UNAVAILABLE, before the first event, as the server asks.
    """
    authority = os.environ.get("TIGHTFIT_TLS_CA")
    if os.environ.get("TIGHTFIT_TOKEN") and not authority:
        raise ValueError("a token needs TIGHTFIT_TLS_CA: in plain text others could read it")
    certificates = Path(authority).read_bytes() if authority else None
    return tightfit.Client(root_certificates=certificates, timeout=SECONDS, max_attempts=4)


def draw(client: tightfit.Client, prompt: str, file: str) -> None:
    # None: the only model that is configured.
    model = os.environ.get("TIGHTFIT_MODEL")
    # Leaving the block, also by Ctrl-C, ends the work on the server.
    with client.stream(prompt, model=model) as events:
        for event in events:
            if isinstance(event, tightfit.Queued):
                print(f"{event.position} ahead in the queue", file=sys.stderr)
            elif isinstance(event, tightfit.Started):
                for warning in event.warnings:
                    print("warning:", warning.message, file=sys.stderr)
            elif isinstance(event, tightfit.Progress):
                print(f"step {event.step} of {event.step_count}", file=sys.stderr)
            elif isinstance(event, tightfit.ImageReady):
                event.image.save(file)
                print(f"{file}: seed {event.image.seed}")


def main() -> int:
    if len(sys.argv) != 3:
        print("usage: generate.py PROMPT FILE.png", file=sys.stderr)
        return 2
    try:
        with connect() as client:
            draw(client, sys.argv[1], sys.argv[2])
    except tightfit.TightfitError as error:
        print(f"error: {error.code} {error.reason}: {error.message}", file=sys.stderr)
        for field in error.field_violations:
            print(f"  {field.field}: {field.description}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print("error:", error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
