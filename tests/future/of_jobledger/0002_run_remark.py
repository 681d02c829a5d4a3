"""Adds a column, as a release may while the previous one is running."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobledger", "0001_initial")]
    operations = [
        migrations.AddField(model_name="run", name="remark", field=models.CharField(max_length=20, null=True))
    ]
