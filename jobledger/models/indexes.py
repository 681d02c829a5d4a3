"""An index that leaves out the rows of which there are too many for it to be of use."""

from typing import Any

from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.ddl_references import Statement


class IndexOfFewer(models.Index):
    """On PostgreSQL, an index of the rows that match the condition; on SQLite, of all rows.

    PostgreSQL compares a query's values with the condition, and so uses the index for all queries that ask
    only for rows that are in it. SQLite would not: it only knows conditions that are in the query itself.
    """

    def create_sql(
        self,
        model: type[models.Model],
        schema_editor: BaseDatabaseSchemaEditor,
        using: str = "",
        **kwargs: Any,
    ) -> Statement:
        if schema_editor.connection.vendor == "postgresql":
            return super().create_sql(model, schema_editor, using, **kwargs)
        whole = models.Index(fields=self.fields, name=self.name)
        return whole.create_sql(model, schema_editor, using, **kwargs)
