"""What checks of real nodes print: how far they are, and what held."""

import time

started_s = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - started_s:6.1f} s] {text}", flush=True)


def check(text: str, fact: object) -> None:
    if not fact:
        raise SystemExit(f"FAILED: {text}")
    say(f"ok: {text}")
