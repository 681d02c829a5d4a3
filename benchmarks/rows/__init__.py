"""The rows of the table that ``python -m benchmarks`` prints, by what they measure."""
