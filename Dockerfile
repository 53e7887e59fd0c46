# The worker, and with `api` as its command the REST API; tracing is in it. Every package is locked and checked by its hash.
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
RUN python -m venv /opt/build && python -m venv --without-pip /opt/notifier
COPY requirements-build.lock requirements-run.lock ./
RUN /opt/build/bin/pip install --require-hashes --only-binary=:all: -r requirements-build.lock \
    && /opt/build/bin/pip --python /opt/notifier/bin/python install \
        --require-hashes --only-binary=:all: -r requirements-run.lock
COPY pyproject.toml README.md schema.sql roles.sql ./
COPY docs/events docs/events
COPY migrations migrations
COPY templates templates
COPY notifier notifier
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/build/bin/pip --python /opt/notifier/bin/python install --no-deps --no-index /wheels/*.whl

FROM python:3.11-slim-bookworm
COPY --from=build /opt/notifier /opt/notifier
# The configuration is expected at /etc/notifier/config.toml; without one the defaults and the environment count.
ENV PATH=/opt/notifier/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NOTIFIER_HEALTH__HOST=0.0.0.0 \
    NOTIFIER_API__HOST=0.0.0.0
# A number, so that Kubernetes can see that it is not root. It owns nothing and writes nowhere.
USER 10001:10001
WORKDIR /
EXPOSE 8080 8081
ENTRYPOINT ["notifier"]
CMD ["run"]
