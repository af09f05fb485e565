# Build: wheels of dynafs and everything it needs.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY dynafs ./dynafs
RUN python -m pip wheel --no-cache-dir --wheel-dir /wheels .

# Run: those wheels, an unprivileged user, one volume.
FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 dynafs && useradd --uid 10001 --gid dynafs --no-create-home dynafs \
    && mkdir /data && chown dynafs:dynafs /data
COPY --from=build /wheels /wheels
RUN python -m pip install --no-cache-dir --no-index --find-links /wheels dynafs && rm -r /wheels
USER dynafs
VOLUME /data
EXPOSE 8080 7400
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=2s --timeout=2s --start-period=10s --retries=5 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["dynafs"]
CMD ["--help"]
