# syntax=docker/dockerfile:1

# The engine is one static binary, so the image is that binary, the certificates
# to call a payment provider with, and nothing else: no shell, no package manager.

FROM golang:1.26-alpine AS build
WORKDIR /src
RUN apk add --no-cache ca-certificates tzdata
# Dependencies first: this layer stays cached until go.mod changes.
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w" -o /out/flashsale ./cmd/flashsale && \
    mkdir /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo
COPY --from=build /out/flashsale /flashsale
# Where a volume goes that the user below can write to.
COPY --from=build --chown=65532:65532 /out/data /data
# A number, not a name: there is no /etc/passwd, and Kubernetes' runAsNonRoot can check a number.
USER 65532:65532

# In a container the listeners must be reachable from outside of it. Whoever
# publishes 9090 decides who may come near the admin door. The engine does not start
# until it is given certificates (FLASHSALE_TLS_CERT, FLASHSALE_TLS_KEY, and with
# FLASHSALE_ADMIN_ before TLS), or told by FLASHSALE_ALLOW_PLAIN_HTTP=true that a proxy
# or a mesh speaks TLS before it.
ENV FLASHSALE_LISTEN=:8080 \
    FLASHSALE_ADMIN_LISTEN=:9090
EXPOSE 8080 9090

# Alive and able to reach what it needs. There is no curl in here; the binary asks.
HEALTHCHECK --interval=5s --timeout=4s --start-period=20s --retries=5 \
    CMD ["/flashsale", "doctor"]

ENTRYPOINT ["/flashsale"]
CMD ["serve"]
