"""Results in a table: kept as long as you like, and queried as any other data."""

from django.db import models


class Result(models.Model):
    """An invocation and, once it has ended, what it came to. State and result are written together."""

    id = models.UUIDField(primary_key=True)
    task = models.CharField(max_length=200)
    #: `submitted`, then one of the terminal states.
    state = models.CharField(max_length=16, default="submitted", db_index=True)
    output = models.JSONField(null=True)
    #: kind, message, retryable and trace of a failure.
    failure = models.JSONField(null=True)
    submitted_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.task} {self.id} {self.state}"
