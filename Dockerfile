# One static program in an empty image. Build: docker build -t plimsoll .
# (or, without a daemon: buildah bud --format docker -t plimsoll .)

FROM docker.io/library/rust:1-alpine AS build
RUN apk add --no-cache musl-dev
WORKDIR /src
COPY . .
# The target is named although it is the host's own, so that `crt-static` holds for the program and not for the compiler's plug-ins.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    set -eu; \
    target=$(rustc -vV | sed -n 's/^host: //p'); \
    RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --locked --bin plimsoll --target "$target"; \
    mkdir -p /out/usr/local/bin /out/data; \
    cp "target/$target/release/plimsoll" /out/usr/local/bin/plimsoll; \
    if readelf -l /out/usr/local/bin/plimsoll | grep -q INTERP; then echo "the program is not static" >&2; exit 1; fi; \
    /out/usr/local/bin/plimsoll --version

FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="plimsoll" \
      org.opencontainers.image.description="Continuous capacity monitoring: scheduled load, resources on the same clock, alerts" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/usr/local/bin/plimsoll /usr/local/bin/plimsoll
# The only place that is written: `storage: { data_dir: /data }`.
COPY --from=build --chown=65532:65532 /out/data /data
ENV PATH=/usr/local/bin
USER 65532:65532
WORKDIR /data
VOLUME ["/data"]
EXPOSE 9611
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=3 CMD ["plimsoll", "healthcheck"]
ENTRYPOINT ["plimsoll"]
CMD ["serve", "--config", "/etc/plimsoll/plimsoll.yaml"]
