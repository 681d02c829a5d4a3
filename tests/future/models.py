"""What is new."""

from django.db import models

from jobledger.models import Run

REMARK = models.CharField(max_length=20, null=True)
Run.add_to_class("remark", REMARK)
