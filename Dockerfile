# A static binary and nothing else: no shell, no package manager, not root.
#
#   docker build -t kvd .
#   docker run -v kvd-data:/data -v ./secrets:/secrets:ro -p 5830:5830 -p 4222:4222 \
#     -e KVD_USERS=/secrets/users -e KVD_TLS_CERT=/secrets/tls.crt -e KVD_TLS_KEY=/secrets/tls.key kvd
#
# In a container the server has to listen on every address, and it refuses to do
# that without users and TLS. On a network of your own, -e KVD_INSECURE=true says
# that this is known; publish the port as 127.0.0.1:5830:5830 then.
#
# -e KVD_METRICS=0.0.0.0:9222 lets a Prometheus in another container scrape it, without a change
# to the rules of the other ports. contrib/compose.yaml has both.

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/kvd ./cmd/kvd \
 && mkdir -m 0700 /out/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/kvd /kvd
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
ENV KVD_DATA=/data KVD_LISTEN=0.0.0.0:5830 KVD_NATS=0.0.0.0:4222 KVD_ADMIN=127.0.0.1:8222
VOLUME /data
EXPOSE 5830 4222 9222
STOPSIGNAL SIGTERM
# The start period covers a recovery; readiness is asked inside the container, so
# the admin address need not be published.
HEALTHCHECK --interval=10s --timeout=4s --start-period=60s CMD ["/kvd", "health"]
ENTRYPOINT ["/kvd"]
CMD ["serve"]
