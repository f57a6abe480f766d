package server

import (
	"fmt"
	"strings"
)

// Permission is a set of operations on a bucket.
type Permission uint8

// The permissions.
const (
	MayGet   Permission = 1 << iota // read keys, histories and listings
	MayPut                          // write values
	MayDel                          // delete and purge keys
	MayWatch                        // watch keys
	MayAdmin                        // create, edit and delete the bucket; remove markers
	MayAny   = MayGet | MayPut | MayDel | MayWatch | MayAdmin
)

// verbs are the words of a grant: one for each permission, and roles, which are several.
var verbs = []struct {
	name string
	may  Permission
}{
	{"get", MayGet}, {"put", MayPut}, {"del", MayDel}, {"watch", MayWatch}, {"admin", MayAdmin},
	{"read-only", MayGet | MayWatch},
	{"read-write", MayGet | MayWatch | MayPut | MayDel},
	{"all", MayAny},
}

// String returns the verbs of a grant that gives one of the permissions.
func (p Permission) String() string {
	if p == MayAny {
		return "any verb"
	}
	var names []string
	for _, v := range verbs {
		if v.may&p == v.may && v.may&(v.may-1) == 0 {
			names = append(names, fmt.Sprintf("%q", v.name))
		}
	}
	return strings.Join(names, " or ")
}

// parseVerbs reads the verbs of a grant.
func parseVerbs(words string) (Permission, error) {
	var may Permission
next:
	for word := range strings.SplitSeq(words, ",") {
		for _, v := range verbs {
			if v.name == word {
				may |= v.may
				continue next
			}
		}
		return 0, fmt.Errorf("verb %q: must be get, put, del, watch, admin, read-only, read-write or all", word)
	}
	return may, nil
}

// DeniedError is the error of an operation that is not granted. It names the missing grant.
type DeniedError struct {
	Needs   Permission // one of them
	Bucket  string
	Key     string // the operation is on this key; empty: on no single one
	Pattern string // the operation is on the keys that match; empty: on no pattern
}

func (e *DeniedError) Error() string {
	where := fmt.Sprintf("bucket %q", e.Bucket)
	switch {
	case e.Key != "":
		where = fmt.Sprintf("%s for key %q", where, e.Key)
	case e.Pattern != "":
		where = fmt.Sprintf("%s for the keys %q", where, e.Pattern)
	}
	return fmt.Sprintf("needs %s in %s", e.Needs, where)
}
