"""Stores the results of what was handed in by processes that are gone."""

from typing import Any

from django.core.management.base import BaseCommand

from results.background import receive_missed, wait_all


class Command(BaseCommand):
    """`python manage.py receive`: at the start of a deployment, or now and then."""

    help = __doc__

    def handle(self, *_: Any, **__: Any) -> None:
        """Takes them up and waits for their ends."""
        self.stdout.write(f"{receive_missed()} taken up")
        wait_all()
