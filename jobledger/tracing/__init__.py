"""Traces: each attempt of a run is a span of OpenTelemetry, in the trace of whoever has started the run.

``context`` takes the trace context from the caller to the run's row and its message, and from there to the
worker; ``spans`` makes the spans. OpenTelemetry is only used where somebody has imported it, or where
``TRACING_SETUP`` names what sets it up: everywhere else, nothing of it is imported. What goes wrong with a
trace never concerns a job.
"""
