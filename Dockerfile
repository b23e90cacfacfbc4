# One image for each service: docker build --build-arg EXTRA=edge|cloud|simulator .
FROM python:3.11-slim-bookworm AS build

ARG EXTRA=edge

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY wire wire
COPY runtime runtime
COPY edge edge
COPY cloud cloud
COPY simulator simulator
COPY local local
RUN python -m venv /opt/fleetfold \
 && /opt/fleetfold/bin/pip install -c constraints.txt ".[${EXTRA}]"


FROM python:3.11-slim-bookworm

# The owner of the data directory is copied into a new, empty volume that is mounted there.
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin fleetfold \
 && install -d -o fleetfold -g fleetfold /var/lib/fleetfold

COPY --from=build /opt/fleetfold /opt/fleetfold

ENV PATH=/opt/fleetfold/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    FLEETFOLD_EDGE__HTTP__ADDRESS=0.0.0.0 \
    FLEETFOLD_EDGE__HTTP__PORT=9100 \
    FLEETFOLD_CLOUD__HTTP__ADDRESS=0.0.0.0 \
    FLEETFOLD_CLOUD__HTTP__PORT=9100

USER 10001:10001
WORKDIR /var/lib/fleetfold
EXPOSE 9100
STOPSIGNAL SIGTERM

HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9100/healthz', timeout=4)"]
