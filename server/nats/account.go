package nats

import (
	"kvd/server/nats/jsapi"
	"kvd/server/nats/streamconfig"
	"kvd/server/nats/wire"
)

// accountInfo is the answer to $JS.API.INFO.
type accountInfo struct {
	Memory          uint64        `json:"memory"`
	Storage         uint64        `json:"storage"`
	ReservedMemory  uint64        `json:"reserved_memory"`
	ReservedStorage uint64        `json:"reserved_storage"`
	Streams         int           `json:"streams"`
	Consumers       int           `json:"consumers"`
	Limits          accountLimits `json:"limits"`
	API             struct {
		Level  int    `json:"level"`
		Total  uint64 `json:"total"`
		Errors uint64 `json:"errors"`
	} `json:"api"`
}

type accountLimits struct {
	MaxMemory             int64 `json:"max_memory"`
	MaxStorage            int64 `json:"max_storage"`
	MaxStreams            int64 `json:"max_streams"`
	MaxConsumers          int64 `json:"max_consumers"`
	MaxAckPending         int64 `json:"max_ack_pending"`
	MemoryMaxStreamBytes  int64 `json:"memory_max_stream_bytes"`
	StorageMaxStreamBytes int64 `json:"storage_max_stream_bytes"`
	MaxBytesRequired      bool  `json:"max_bytes_required"`
}

var unlimitedAccount = accountLimits{-1, -1, -1, -1, -1, -1, -1, false}

// add adds a stream's size and reservation.
func (i *accountInfo) add(cfg *streamconfig.Config, bytes uint64) {
	stored, reserved := &i.Storage, &i.ReservedStorage
	if cfg.Storage == streamconfig.StorageMemory {
		stored, reserved = &i.Memory, &i.ReservedMemory
	}
	*stored += bytes
	*reserved += uint64(max(cfg.MaxBytes, 0))
}

// userInfo is the answer to $SYS.REQ.USER.INFO.
type userInfo struct {
	Server userServer `json:"server"`
	Data   userData   `json:"data"`
}

type userServer struct {
	Name      string `json:"name"`
	Host      string `json:"host"`
	ID        string `json:"id"`
	Version   string `json:"ver"`
	JetStream bool   `json:"jetstream"`
	Flags     int    `json:"flags"`
	Seq       int    `json:"seq"`
	Time      string `json:"time"`
}

type userData struct {
	User        string `json:"user"`
	Account     string `json:"account"`
	AccountName string `json:"account_name"`
}

// globalAccount is the account of nats-server for clients that have no other.
const globalAccount = "$G"

// system answers $SYS.REQ.USER.INFO, which tells a client its user. It reports whether the
// message was that request.
func (c *conn) system(o *wire.Operation) bool {
	if string(o.Subject) != "$SYS.REQ.USER.INFO" {
		return false
	}
	host, _ := address(c.LocalAddr())
	info := userInfo{
		Server: userServer{
			Name: c.front.id, Host: host, ID: c.front.id, Version: c.front.version, JetStream: true, Flags: 7, Seq: 1,
			Time: string(wire.AppendTime(nil, now())),
		},
		Data: userData{User: c.user, Account: globalAccount, AccountName: globalAccount},
	}
	c.answer(o.Reply, nil, jsapi.EncodeJSON(info))
	return true
}
