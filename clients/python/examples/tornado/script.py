"""The same task from a script, in the style of `IOLoop.run_sync`."""

from tornado.ioloop import IOLoop

from celeriac import AsyncClient

client = AsyncClient()


async def do_long_task(samples: int) -> float:
    """Awaits what the task returns. There is no helper that polls: the result is pushed."""
    estimate = await client.call("compute/monte-carlo", {"samples": samples})
    return float(estimate["pi"])


async def main() -> None:
    """Runs it once."""
    print(f"pi is about {await do_long_task(1_000_000):.2f}")
    await client.close()


if __name__ == "__main__":
    IOLoop.current().run_sync(main)
