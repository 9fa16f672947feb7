"""The table of results."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """Makes it."""

    initial = True
    dependencies = []  # noqa: RUF012 as Django writes it

    operations = [  # noqa: RUF012 as Django writes it
        migrations.CreateModel(
            name="Result",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("task", models.CharField(max_length=200)),
                ("state", models.CharField(db_index=True, default="submitted", max_length=16)),
                ("output", models.JSONField(null=True)),
                ("failure", models.JSONField(null=True)),
                ("submitted_at", models.DateTimeField(auto_now_add=True)),
                ("ended_at", models.DateTimeField(null=True)),
            ],
        )
    ]
