# Builds the static binary and puts it alone into an empty image.
#
#   docker build -t tidemark .
#
# Settings come from the environment, named as in Apache Kafka's image:
# KAFKA_NODE_ID is node.id. With CLUSTER_ID an empty volume is formatted at the
# first start. There is no shell in the image, thus no HEALTHCHECK: ask
# http://HOST:9644/readyz.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY cmd ./cmd
COPY internal ./internal
ARG VERSION=unknown
ARG COMMIT=unknown
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X tidemark/internal/cli.version=${VERSION} -X tidemark/internal/cli.commit=${COMMIT}" -o /out/tidemark ./cmd/tidemark
RUN mkdir -p /out/lib/data

FROM scratch
COPY --from=build /out/tidemark /usr/bin/tidemark
# The state directory is made beside the data, so their parent is writable, too.
COPY --from=build --chown=1000:1000 /out/lib /var/lib/kafka
COPY docker/server.properties /etc/tidemark/server.properties
COPY LICENSE /usr/share/licenses/tidemark/LICENSE
USER 1000:1000
VOLUME ["/var/lib/kafka"]
EXPOSE 9092 9644
ENTRYPOINT ["/usr/bin/tidemark"]
CMD ["server", "/etc/tidemark/server.properties"]
