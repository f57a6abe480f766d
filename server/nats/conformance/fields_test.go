package conformance_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	natsd "github.com/nats-io/nats-server/v2/server"

	natsfront "kvd/server/nats"
)

// TestFieldsOfRequests sends every field that nats-server's requests have, on its own and
// without a value, and one that they do not have. Both servers refuse the same fields.
func TestFieldsOfRequests(t *testing.T) {
	theirs, ours := startNATS(t), start(t, t.TempDir(), natsfront.Options{}).conn
	requests := []struct {
		subject string
		body    any
	}{
		{"STREAM.CREATE.S", natsd.StreamConfigRequest{}},
		{"STREAM.UPDATE.S", natsd.StreamConfigRequest{}},
		{"STREAM.INFO.S", natsd.JSApiStreamInfoRequest{}},
		{"STREAM.NAMES", natsd.JSApiStreamNamesRequest{}},
		{"STREAM.LIST", natsd.JSApiStreamListRequest{}},
		{"STREAM.PURGE.S", natsd.JSApiStreamPurgeRequest{}},
		{"STREAM.MSG.GET.S", natsd.JSApiMsgGetRequest{}},
		{"STREAM.MSG.DELETE.S", natsd.JSApiMsgDeleteRequest{}},
		{"STREAM.SNAPSHOT.S", natsd.JSApiStreamSnapshotRequest{}},
		{"STREAM.RESTORE.S", natsd.JSApiStreamRestoreRequest{}},
		{"CONSUMER.CREATE.S", natsd.CreateConsumerRequest{}},
		{"CONSUMER.CREATE.S config", natsd.ConsumerConfig{}},
		{"CONSUMER.DURABLE.CREATE.S.c", natsd.CreateConsumerRequest{}},
		{"CONSUMER.NAMES.S", natsd.JSApiConsumersRequest{}},
		{"CONSUMER.LIST.S", natsd.JSApiConsumersRequest{}},
		{"STREAM.CREATE.S placement", natsd.Placement{}},
	}
	const create = `$JS.API.STREAM.CREATE.S {"name":"S"}`
	if want, got := ask(theirs, create), ask(ours, create); want != got {
		t.Fatalf("%s\nnats-server %s\nkvd         %s", create, want, got)
	}
	unknown := func(answer string) bool { return strings.Contains(answer, "unknown field") }
	for _, r := range requests {
		subject, within, _ := strings.Cut(r.subject, " ")
		fields := append(fieldNames(reflect.TypeOf(r.body)), "nonsense")
		for _, field := range fields {
			body := fmt.Sprintf(`{%q:null}`, field)
			if within != "" {
				body = fmt.Sprintf(`{%q:%s}`, within, body)
			}
			request := "$JS.API." + subject + " " + body
			want, got := ask(theirs, request), ask(ours, request)
			if unknown(want) != unknown(got) || unknown(want) != (field == "nonsense") || unknown(want) && want != got {
				t.Errorf("%s\nnats-server %s\nkvd         %s", request, want, got)
			}
		}
	}
}

// fieldNames returns the names that a struct's fields have in JSON.
func fieldNames(of reflect.Type) (names []string) {
	for i := range of.NumField() {
		field := of.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && name == "":
			names = append(names, fieldNames(field.Type)...)
		case name != "-" && field.IsExported():
			names = append(names, name)
		}
	}
	return names
}
