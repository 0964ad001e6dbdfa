# The image of Hongyan: one static binary, nothing else that could run, and no shell.
#
#   docker build --build-arg VERSION=1.0.0 -t hongyan:1.0.0 .
#
# Plain instructions only, so that every builder takes it: the old one of Docker 20.10, BuildKit, podman.
FROM golang:1.26-alpine AS build
WORKDIR /src

# What is downloaded and compiled for other people's modules changes rarely and stays in the builder's cache.
COPY go.mod go.sum ./
RUN go mod download

COPY . .
# timetzdata puts the time zones into the binary; without cgo it needs no libc.
ARG VERSION=""
RUN CGO_ENABLED=0 go build -trimpath -tags timetzdata -ldflags "-s -w -X main.stamped=$VERSION" -o /out/hongyan ./cmd/hongyan
# A new volume takes the owner and mode of the folder that it is mounted on.
RUN mkdir -p /out/root/data /out/root/certs /out/root/etc/hongyan && chmod 700 /out/root/data

FROM scratch
# The certificates of public authorities, for WeChat's API and for models.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build --chown=65532:65532 /out/root/ /
COPY --from=build /out/hongyan /hongyan
# No name, only a number: it needs no /etc/passwd, and Kubernetes can see that it is not root.
USER 65532:65532
# 8080 callbacks, 9090 health, metrics and console, 7070 between workers.
EXPOSE 8080 9090 7070
# Asks /readyz, which really writes to the log and the store.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["/hongyan", "health", "-c", "/etc/hongyan/hongyan.yaml"]
ENTRYPOINT ["/hongyan"]
CMD ["serve", "-c", "/etc/hongyan/hongyan.yaml"]
