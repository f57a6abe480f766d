package lineproto

// Verb is the verb of a command.
type Verb uint8

// The verbs. Their numbers are not on the wire.
const (
	VerbHello Verb = iota + 1
	VerbAuth
	VerbPing
	VerbQuit
	VerbBuckets
	VerbAdd
	VerbEdit
	VerbInfo
	VerbRemove
	VerbPut
	VerbCreate
	VerbUpdate
	VerbTouch
	VerbGet
	VerbDelete
	VerbPurge
	VerbHistory
	VerbKeys
	VerbCount
	VerbWatch
	VerbUnwatch
	VerbPurgeDeletes
	VerbReclaim
	VerbLost
	VerbAccept
	VerbImport
	VerbRecords
	VerbCommit
	VerbDiscard
	VerbBackup
	VerbGetMany
	VerbRange
	VerbChildren
	VerbTxn
	VerbIf
	VerbIfNewest
)

// String returns the verb as on the wire.
func (v Verb) String() string {
	if v == 0 || int(v) >= len(shapes) {
		return "unknown verb"
	}
	return shapes[v].name
}

// Writes reports whether the verb is one of the mutations of kv.Submitter.
func (v Verb) Writes() bool {
	switch v {
	case VerbPut, VerbCreate, VerbUpdate, VerbTouch, VerbDelete, VerbPurge:
		return true
	}
	return false
}

// argument is a positional argument of a verb.
type argument uint8

const (
	argBucket argument = iota + 1
	argKey
	argRevision
	argPatterns
	argWatch
	argUser
	argPassword
	argImport
	argBuckets
	argPrefix
	argConditions
	argThen
	argElse
)

var argumentNames = [...]string{"", "BUCKET", "KEY", "REVISION", "PATTERNS", "WATCH", "USER", "PASSWORD", "NUMBER", "BUCKETS", "PREFIX", "CONDITIONS", "THEN", "ELSE"}

// payloadRule determines whether a verb has a length and a payload.
type payloadRule uint8

const (
	noPayload payloadRule = iota
	mayHavePayload
	hasPayload
)

// optionSet is a set of options.
type optionSet uint32

const (
	optID optionSet = 1 << iota
	optTTL
	optRevision
	optFrom
	optMode
	optDeletes
	optMeta
	optOlder
	optStatus
	optStale
	optDigest
	optRate
	optFromKey
	optTo
	optAfter
	optOrder
	optLimit
	optBytes
	optMarkers
	optChanged
	optBy
	optIs
	optNotRevision
	optConfig // those of a configuration: config.go
)

// shape is the grammar of a verb: VERB, its arguments, its options, and the
// length of its payload.
type shape struct {
	name    string
	args    []argument
	options optionSet
	payload payloadRule
}

var (
	noArgs       []argument
	aBucket      = []argument{argBucket}
	aKey         = []argument{argBucket, argKey}
	anImport     = []argument{argImport}
	somePatterns = []argument{argBucket, argPatterns}
	rangeOptions = optFromKey | optTo | optAfter | optOrder | optLimit | optBytes | optMarkers | optChanged | optMeta
	shapes       = [...]shape{
		VerbHello:        {"HELLO", noArgs, 0, noPayload},
		VerbAuth:         {"AUTH", []argument{argUser, argPassword}, 0, noPayload},
		VerbPing:         {"PING", noArgs, 0, noPayload},
		VerbQuit:         {"QUIT", noArgs, 0, noPayload},
		VerbBuckets:      {"BUCKETS", noArgs, optStatus, noPayload},
		VerbAdd:          {"ADD", aBucket, optConfig, mayHavePayload},
		VerbEdit:         {"EDIT", aBucket, optConfig, mayHavePayload},
		VerbInfo:         {"INFO", aBucket, optID, noPayload},
		VerbRemove:       {"RM", aBucket, optID, noPayload},
		VerbPut:          {"PUT", aKey, optTTL | optID, hasPayload},
		VerbCreate:       {"CREATE", aKey, optTTL | optID, hasPayload},
		VerbUpdate:       {"UPDATE", []argument{argBucket, argKey, argRevision}, optTTL | optID, hasPayload},
		VerbTouch:        {"TOUCH", aKey, optTTL | optID, noPayload},
		VerbGet:          {"GET", aKey, optRevision | optStale | optID, noPayload},
		VerbDelete:       {"DEL", aKey, optRevision | optID, noPayload},
		VerbPurge:        {"PURGE", aKey, optRevision | optTTL | optID, noPayload},
		VerbHistory:      {"HISTORY", aKey, optStale | optID, noPayload},
		VerbKeys:         {"KEYS", somePatterns, optStale | optID, noPayload},
		VerbCount:        {"COUNT", somePatterns, optStale | optID, noPayload},
		VerbWatch:        {"WATCH", []argument{argWatch, argBucket, argPatterns}, optMode | optFrom | optID | optDeletes | optMeta | optStale, noPayload},
		VerbUnwatch:      {"UNWATCH", []argument{argWatch}, 0, noPayload},
		VerbPurgeDeletes: {"PURGEDELETES", aBucket, optOlder | optID, noPayload},
		VerbReclaim:      {"RECLAIM", aBucket, optID, noPayload},
		VerbLost:         {"LOST", aBucket, optID, noPayload},
		VerbAccept:       {"ACCEPT", aBucket, optID, noPayload},
		VerbImport:       {"IMPORT", []argument{argImport, argBucket}, optConfig, mayHavePayload},
		VerbRecords:      {"RECORDS", anImport, 0, hasPayload},
		VerbCommit:       {"COMMIT", anImport, optDigest, noPayload},
		VerbDiscard:      {"DISCARD", anImport, 0, noPayload},
		VerbBackup:       {"BACKUP", []argument{argBuckets}, optRate, noPayload},
		VerbGetMany:      {"MGET", aBucket, optStale | optID, hasPayload},
		VerbRange:        {"RANGE", somePatterns, rangeOptions | optStale | optID, mayHavePayload},
		VerbChildren:     {"CHILDREN", []argument{argBucket, argPrefix}, optBy | optLimit | optStale | optID, noPayload},
		VerbTxn:          {"TXN", []argument{argConditions, argThen, argElse}, 0, noPayload},
		VerbIf:           {"IF", aKey, optIs | optRevision | optNotRevision | optID, mayHavePayload},
		VerbIfNewest:     {"IFNEWEST", []argument{argBucket, argRevision}, optID, noPayload},
	}
)

// verbOf returns the verb of that name, 0 if there is none.
func verbOf(name []byte) Verb {
	switch string(name) {
	case "PUT":
		return VerbPut
	case "GET":
		return VerbGet
	case "CREATE":
		return VerbCreate
	case "UPDATE":
		return VerbUpdate
	case "DEL":
		return VerbDelete
	}
	for v := range shapes {
		if v != 0 && shapes[v].name == string(name) {
			return Verb(v)
		}
	}
	return 0
}

// optionNamed returns the option of that name, 0 if there is none. config.go has those of
// a configuration.
func optionNamed(name string) optionSet {
	switch name {
	case "id":
		return optID
	case "ttl":
		return optTTL
	case "rev":
		return optRevision
	case "from":
		return optFrom
	case "mode":
		return optMode
	case "deletes":
		return optDeletes
	case "meta":
		return optMeta
	case "older":
		return optOlder
	case "status":
		return optStatus
	case "stale":
		return optStale
	case "digest":
		return optDigest
	case "rate":
		return optRate
	case "to":
		return optTo
	case "after":
		return optAfter
	case "order":
		return optOrder
	case "limit":
		return optLimit
	case "bytes":
		return optBytes
	case "markers":
		return optMarkers
	case "changed":
		return optChanged
	case "by":
		return optBy
	case "is":
		return optIs
	case "not-rev":
		return optNotRevision
	}
	return 0
}

// usage returns the grammar of the verb, for the text of an error.
func (s *shape) usage() string {
	text := s.name
	for _, a := range s.args {
		text += " " + argumentNames[a]
	}
	if s.options != 0 {
		text += " [NAME=VALUE …]"
	}
	switch s.payload {
	case hasPayload:
		text += " LENGTH"
	case mayHavePayload:
		text += " [LENGTH]"
	}
	return text
}
