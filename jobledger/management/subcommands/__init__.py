"""The subcommands of ``manage.py jobledger``, a module each; ``OperatorCommand`` says how to add one."""
