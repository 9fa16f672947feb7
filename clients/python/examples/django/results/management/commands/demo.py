"""Ten invocations and a failure, collected in order, then from the table."""

from typing import Any

from django.core.management.base import BaseCommand
from tasks import fail, nap

from celeriac import TaskFailed
from results.background import get_result, wait_all


class Command(BaseCommand):
    """`python manage.py demo`."""

    help = __doc__

    def handle(self, *_: Any, **__: Any) -> None:
        """Plays it."""
        handles = [nap(0.1, steps=steps) for steps in range(1, 11)]
        self.stdout.write(f"in order: {[handle.result(60)['steps'] for handle in handles]}")
        self.stdout.write(f"synchronously: {nap.sync(0.1)['steps']}")
        bad = fail("not today")
        try:
            bad.result(60)
        except TaskFailed as error:
            self.stdout.write(f"caught: {error.kind}: {error.message}")
        nap.with_callback((0.1,), {}, lambda handle: self.stdout.write(f"of this call: {handle.result()['steps']}"))
        self.stdout.write(f"all stored: {wait_all(60)}")
        self.stdout.write(f"from the table: {[get_result(handle.id)[0] for handle in (*handles[:2], bad)]}")
