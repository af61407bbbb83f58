# The image as it is usually written, to compare with in benchmarks.md. URLs and versions are build arguments, because the
# rehearsal's upstream listens on a random port; `--secret id=ca,src=…` has the machine's certificates.
ARG BASE
FROM $BASE
ENV CI=true NODE_EXTRA_CA_CERTS=/run/secrets/ca
RUN apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates curl execline git libgomp1 lsof nginx openssh-client procps ripgrep s6 unzip xz-utils && \
    rm -rf /var/lib/apt/lists/*
ARG NODE_VERSION=24.21.0 NODE_URL
RUN mkdir -p /opt/node && curl -fsSL $NODE_URL/dist/v$NODE_VERSION/node-v$NODE_VERSION-linux-x64.tar.xz | tar -xJ -C /opt/node --strip-components=1
ENV PATH=/opt/node/bin:/opt/bun/bin:/opt/opencode/bin:$PATH
ARG BUN_VERSION=1.4.2 GITHUB
RUN curl -fsSLo /tmp/bun.zip $GITHUB/oven-sh/bun/releases/download/bun-v$BUN_VERSION/bun-linux-x64.zip && \
    mkdir -p /opt/bun/bin && unzip -j /tmp/bun.zip -d /opt/bun/bin && rm /tmp/bun.zip
ARG LLAMA_VERSION=b11146
RUN mkdir -p /opt/llamacpp && curl -fsSL $GITHUB/ggml-org/llama.cpp/releases/download/$LLAMA_VERSION/llama-$LLAMA_VERSION-bin-ubuntu-x64.tar.gz | tar -xz -C /opt/llamacpp --strip-components=1
ARG OPENCLAW_VERSION=2026.9.6
RUN --mount=type=secret,id=ca npm install -g openclaw@$OPENCLAW_VERSION && npm cache clean --force
ARG OPENCODE_VERSION=1.18.18
RUN mkdir -p /opt/opencode/bin && curl -fsSL $GITHUB/anomalyco/opencode/releases/download/v$OPENCODE_VERSION/opencode-linux-x64.tar.gz | tar -xz -C /opt/opencode/bin
ARG MANAGER_VERSION=v0.16.2 GIT
RUN --mount=type=secret,id=ca git clone --depth 1 --branch $MANAGER_VERSION $GIT/chriswritescode-dev/opencode-manager.git /opt/manager && \
    cd /opt/manager && npm install -g pnpm@10.28.1 && pnpm install --frozen-lockfile && pnpm --filter frontend build
ARG CONVEX_URL CONVEX_VERSION
RUN curl -fsSLo /tmp/convex.zip $CONVEX_URL/$CONVEX_VERSION/convex-local-backend-x86_64-unknown-linux-gnu.zip && \
    mkdir -p /opt/convex && unzip -j /tmp/convex.zip -d /opt/convex && rm /tmp/convex.zip && \
    curl -fsSLo /tmp/dashboard.zip $CONVEX_URL/$CONVEX_VERSION/dashboard.zip && unzip -q /tmp/dashboard.zip -d /opt/convex-dashboard && rm /tmp/dashboard.zip
RUN --mount=type=secret,id=ca git clone --depth 1 $GIT/manish-raana/openclaw-mission-control.git /opt/mission-control && \
    cd /opt/mission-control && npm ci && VITE_CONVEX_URL=http://127.0.0.1:3210 npx vite build
COPY rootfs/ /
COPY start.sh /opt/stack/
RUN useradd --create-home --home-dir /data/home stack
USER stack
WORKDIR /data
ENTRYPOINT ["/opt/stack/start.sh"]
