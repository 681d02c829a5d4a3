# One image for every process: web, worker, beat and their one-shot command; a small one for the secrets.

FROM python:3.13-slim-trixie AS build
WORKDIR /app
# The packages hang on the lock file alone: an edit of the source does not install them again.
COPY requirements/run.txt requirements/run.txt
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv --without-pip /venv \
 && python -m pip --python /venv/bin/python install --disable-pip-version-check \
        --require-hashes --requirement requirements/run.txt
ENV PATH=/venv/bin:$PATH \
    STATIC_ROOT=/app/staticfiles
COPY . .
# Compiled here, since a read-only container cannot keep what it compiles. The key lives in this step only.
# What may be switched on later has files too.
RUN python -m compileall -q . \
 && SECRET_KEY=only-to-collect-static-files TOTP_REQUIRED=true python manage.py collectstatic --no-input --verbosity 0


FROM python:3.13-slim-trixie AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
# These folders belong to the user, so that volumes first mounted there do too. The image also runs as any other
# user, who need not exist: nothing else is written outside /tmp.
RUN groupadd --gid 10001 app \
 && useradd --uid 10001 --gid app --home-dir /tmp --no-create-home --shell /usr/sbin/nologin app \
 && install --directory --owner app --group app /secrets /secrets-for-admin /secrets-for-db /secrets-for-redis
WORKDIR /app


# The secrets of the Compose file, for its service of that name. An image of its own, which edits of the source leave
# as it is: the database and Redis depend on that service, and Compose replaces what depends on another image.
FROM base AS secrets
COPY proj/state.py proj/generate_secrets.py proj/
USER 10001:10001
CMD ["python", "-m", "proj.generate_secrets", "/secrets"]


FROM base
LABEL org.opencontainers.image.title="jobledger" \
      org.opencontainers.image.description="Scheduled jobs for Django: web, worker and beat." \
      org.opencontainers.image.licenses="BSD-3-Clause"
# With "container", which some engines set themselves, logs are JSON unless on a terminal.
ENV PATH=/venv/bin:$PATH \
    STATIC_ROOT=/app/staticfiles \
    container=oci
RUN install --directory --owner app --group app /notices
COPY --from=build /venv /venv
COPY --from=build /app /app
# Names this build in notices, so that none is about an older one.
RUN cat /proc/sys/kernel/random/uuid > /build-id
USER 10001:10001
# Says if the image is stale: proj/stale_image.py.
ENTRYPOINT ["sh", "-c", "cat \"/notices/$(cat /build-id)\" >&2 2>/dev/null; exec \"$@\"", "sh"]
EXPOSE 8000
CMD ["gunicorn", "proj.wsgi", "--bind", "0.0.0.0:8000", \
     "--worker-class", "proj.web_worker.Worker", "--workers", "2", "--threads", "8", "--no-control-socket", \
     "--logger-class", "proj.web_log.Logger", "--access-logfile", "-"]
