"""The present one."""

from importlib import import_module

Migration = import_module("jobledger.migrations.0001_initial").Migration
