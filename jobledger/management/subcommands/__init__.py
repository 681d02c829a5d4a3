"""The subcommands of ``manage.py jobledger``, one module each; see ``OperatorCommand`` for how to add one."""
