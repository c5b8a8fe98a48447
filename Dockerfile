# tightfit-server on Debian 12. It computes on the first GPU, or on the CPU where there is none.
#
#   docker build --build-arg TIGHTFIT_BUILD_COMMIT="$(git describe --always --dirty)" --tag tightfit .
#   docker run --gpus all --read-only --stop-timeout 40 -v "$PWD/models:/models:ro" \
#     -p 127.0.0.1:50051:50051 -p 127.0.0.1:9400:9400 tightfit --model my-model=/models/my-model
#
# The ports are published to this machine alone: the image speaks plain text (docs/deploy.md).
# With --build-arg TIGHTFIT_DEVICE=cpu the image has none of CUDA's libraries and is a tenth of the size.
# What follows the image's name are flags of tightfit-server, over the settings of /etc/tightfit/tightfit.toml.
# deploy/container_check.sh runs these same instructions where there is no Docker.
ARG DEBIAN=debian:bookworm-slim

FROM ${DEBIAN} AS build
ENV PIP_NO_CACHE_DIR=1
WORKDIR /src
# The tools first: they change less often than the sources.
COPY deploy/install.sh deploy/requirements.txt deploy/
ARG TIGHTFIT_DEVICE=cuda
RUN if [ "$TIGHTFIT_DEVICE" = cuda ]; then ./deploy/install.sh --image --cuda; \
    else ./deploy/install.sh --image; fi
COPY CMakeLists.txt CMakePresets.json LICENSE ./
COPY deploy/cmake deploy/cmake
COPY proto proto
COPY kernels kernels
COPY server server
COPY client client
ARG TIGHTFIT_BUILD_COMMIT=
RUN cmake --preset release -DTIGHTFIT_BUILD_TESTS=OFF -DTIGHTFIT_WITH_CUDA=ON \
    && cmake --build build/release --target tightfit-server tightfit tightfit-weights
COPY deploy/container/collect_runtime.sh deploy/container/
RUN ./deploy/container/collect_runtime.sh "$TIGHTFIT_DEVICE" build/release/bin /opt/tightfit \
      tightfit-server tightfit tightfit-weights

FROM ${DEBIAN}
# Everything that the programs link to and Debian has; the rest comes with them.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends \
      libabsl20220623 \
      libfmt9 \
      libgrpc++1.51 \
      libgrpc29 \
      libhwy1 \
      libicu72 \
      libjpeg62-turbo \
      libpng16-16 \
      libprometheus-cpp-core1.0 \
      libprotobuf32 \
      libspdlog1.10 \
      libssl3 \
      libstdc++6 \
      libtomlplusplus3 \
      libwebp7 \
      libwebpdemux2 \
      zlib1g \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/* \
    && groupadd --gid 10001 tightfit \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent \
      --shell /usr/sbin/nologin tightfit \
    && mkdir /models
COPY --from=build /opt/tightfit /opt/tightfit
COPY deploy/container/tightfit.toml /etc/tightfit/tightfit.toml
# What Docker's GPU support gives to the container: to compute, and nvidia-smi.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENV PATH=/opt/tightfit/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LABEL org.opencontainers.image.title="tightfit-server" \
      org.opencontainers.image.licenses="Apache-2.0"
EXPOSE 50051 9400
USER 10001:10001
STOPSIGNAL SIGTERM
# A gRPC call of the contract; TIGHTFIT_SERVER names another port, TIGHTFIT_TLS_CA and TIGHTFIT_TOKEN what a
# server with TLS and tokens asks for. Loading models answers it, too.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
  CMD ["tightfit", "info", "--json", "--connect-timeout", "5", "--timeout", "5"]
ENTRYPOINT ["tightfit-server", "--config", "/etc/tightfit/tightfit.toml"]
