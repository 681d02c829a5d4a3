"""A future version of the service: runs have another column, which a migration adds."""
