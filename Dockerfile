# syntax=docker/dockerfile:1
# One image, one binary: the gallery and the model are inside it.

FROM node:20-bookworm-slim AS gallery
WORKDIR /doppel/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY web ./
RUN npm run build

FROM rust:1.95-bookworm AS binary
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake nasm protobuf-compiler libprotobuf-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /doppel
COPY Cargo.toml Cargo.lock build.rs ./
COPY src src
COPY benches benches
COPY models models
COPY --from=gallery /doppel/web/dist web/dist
RUN cargo build --release --locked --bin doppel

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin doppel \
    && install -d -o doppel -g doppel /data
COPY --from=binary /doppel/target/release/doppel /usr/local/bin/doppel
USER doppel
VOLUME /data
EXPOSE 8080
ENV DOPPEL_LISTEN=0.0.0.0:8080 DOPPEL_DATA_DIR=/data
STOPSIGNAL SIGTERM
ENTRYPOINT ["doppel"]
CMD ["serve"]
