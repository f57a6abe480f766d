package kv_test

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"kvd/kv"
	"kvd/kv/msglog"
)

// allOps are the writes there are.
var allOps = []kv.MutationOp{
	kv.MutatePut, kv.MutateCreate, kv.MutateUpdate, kv.MutateDelete, kv.MutatePurge, kv.MutateTouch,
}

// TestResolveWriteKnowsWhatApplies tries every option with every write.
func TestResolveWriteKnowsWhatApplies(t *testing.T) {
	applies := map[string]map[kv.MutationOp]bool{
		"LastRevision": {kv.MutateDelete: true, kv.MutatePurge: true},
		"KeyTTL":       {kv.MutatePut: true, kv.MutateCreate: true, kv.MutateUpdate: true, kv.MutateTouch: true},
		"PurgeTTL":     {kv.MutatePurge: true},
		"zero":         {},
	}
	options := map[string]kv.WriteOption{
		"LastRevision": kv.LastRevision(7), "KeyTTL": kv.KeyTTL(time.Minute), "PurgeTTL": kv.PurgeTTL(time.Hour), "zero": {},
	}
	resolved := map[string]kv.WriteOptions{
		"LastRevision": {Last: 7, IfLast: true}, "KeyTTL": {TTL: time.Minute}, "PurgeTTL": {TTL: time.Hour},
	}
	for name, option := range options {
		for _, op := range allOps {
			got, err := kv.ResolveWrite(op, []kv.WriteOption{option})
			if !applies[name][op] {
				if !errors.Is(err, kv.ErrInvalidOption) {
					t.Errorf("%s for %v: error is %v", name, op, err)
				}
				continue
			}
			if err != nil || got != resolved[name] {
				t.Errorf("%s for %v: %+v, %v", name, op, got, err)
			}
		}
	}
}

func TestResolveWrite(t *testing.T) {
	tests := map[string]struct {
		op   kv.MutationOp
		opts []kv.WriteOption
		want kv.WriteOptions
	}{
		"none":                       {kv.MutatePut, nil, kv.WriteOptions{}},
		"both of a purge":            {kv.MutatePurge, []kv.WriteOption{kv.PurgeTTL(1), kv.LastRevision(2)}, kv.WriteOptions{Last: 2, IfLast: true, TTL: 1}},
		"revision 0 is a condition":  {kv.MutateDelete, []kv.WriteOption{kv.LastRevision(0)}, kv.WriteOptions{IfLast: true}},
		"of two TTLs the later":      {kv.MutatePut, []kv.WriteOption{kv.KeyTTL(1), kv.KeyTTL(2)}, kv.WriteOptions{TTL: 2}},
		"of two revisions the later": {kv.MutateDelete, []kv.WriteOption{kv.LastRevision(9), kv.LastRevision(0)}, kv.WriteOptions{IfLast: true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := kv.ResolveWrite(tt.op, tt.opts)
			if err != nil || got != tt.want {
				t.Errorf("resolved to %+v, %v, want %+v", got, err, tt.want)
			}
			m := kv.Mutation{Op: tt.op}
			err = m.Apply(tt.opts)
			if applied := (kv.WriteOptions{Last: m.Last, IfLast: m.IfLast, TTL: m.TTL}); err != nil || applied != tt.want {
				t.Errorf("applied as %+v, %v, want %+v", applied, err, tt.want)
			}
		})
	}
}

func TestApplyChangesWhatIsGiven(t *testing.T) {
	m := kv.Mutation{Op: kv.MutateUpdate, Last: 3}
	if err := m.Apply([]kv.WriteOption{kv.KeyTTL(1)}); err != nil || m.Last != 3 || m.IfLast || m.TTL != 1 {
		t.Errorf("an update of revision 3 with a TTL is %+v, %v", m, err)
	}
	if err := m.Apply([]kv.WriteOption{kv.KeyTTL(2), kv.LastRevision(1)}); !errors.Is(err, kv.ErrInvalidOption) || m.Last != 3 || m.TTL != 1 {
		t.Errorf("refused options left %+v, %v", m, err)
	}
}

func TestResolveWriteWantsATTLAboveZero(t *testing.T) {
	for _, ttl := range []time.Duration{0, -1} {
		for op, option := range map[kv.MutationOp]kv.WriteOption{kv.MutatePut: kv.KeyTTL(ttl), kv.MutatePurge: kv.PurgeTTL(ttl)} {
			_, err := kv.ResolveWrite(op, []kv.WriteOption{option})
			var limit *kv.LimitError
			if !errors.Is(err, kv.ErrInvalidOption) || !errors.As(err, &limit) || limit.Got != int64(ttl) {
				t.Errorf("%v of %v: error is %v", op, ttl, err)
			}
		}
	}
}

func TestResolveWriteNamesOptionAndWrite(t *testing.T) {
	for want, resolve := range map[string]func() (kv.WriteOptions, error){
		"invalid option: LastRevision does not apply to Put": func() (kv.WriteOptions, error) {
			return kv.ResolveWrite(kv.MutatePut, []kv.WriteOption{kv.LastRevision(1)})
		},
		"invalid option: KeyTTL does not apply to Purge": func() (kv.WriteOptions, error) {
			return kv.ResolveWrite(kv.MutatePurge, []kv.WriteOption{kv.KeyTTL(1)})
		},
		"invalid option: PurgeTTL does not apply to Delete": func() (kv.WriteOptions, error) {
			return kv.ResolveWrite(kv.MutateDelete, []kv.WriteOption{kv.PurgeTTL(1)})
		},
		"invalid option: the zero WriteOption": func() (kv.WriteOptions, error) {
			return kv.ResolveWrite(kv.MutatePut, []kv.WriteOption{{}})
		},
	} {
		if _, err := resolve(); err == nil || err.Error() != want {
			t.Errorf("error is %v, want %s", err, want)
		}
	}
}

// TestWatchOptionsSetOneFieldEach also sees a field that no option sets.
func TestWatchOptionsSetOneFieldEach(t *testing.T) {
	options := map[string]kv.WatchOption{
		"IncludeHistory": kv.IncludeHistory(),
		"UpdatesOnly":    kv.UpdatesOnly(),
		"IgnoreDeletes":  kv.IgnoreDeletes(),
		"MetaOnly":       kv.MetaOnly(),
		"ResumeFrom":     kv.ResumeFromRevision(7),
		"ResumeBucketID": kv.ResumeBucketID(8),
		"PassForgotten":  msglog.PassForgotten(),
		"SelectAtMost":   msglog.SelectAtMost(9),
		"Notify":         kv.Notify(func() {}),
	}
	fields := reflect.TypeFor[kv.WatchOptions]()
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		option := options[name]
		if option == nil {
			t.Errorf("no option sets %s", name)
			continue
		}
		var o kv.WatchOptions
		option(&o)
		for j := range fields.NumField() {
			if set := !reflect.ValueOf(o).Field(j).IsZero(); set != (i == j) {
				t.Errorf("the option of %s: %s is set is %v", name, fields.Field(j).Name, set)
			}
		}
	}
	var o kv.WatchOptions
	options["ResumeFrom"](&o)
	options["ResumeBucketID"](&o)
	if o.ResumeFrom != 7 || o.ResumeBucketID != 8 {
		t.Errorf("resumed from %d in bucket %d", o.ResumeFrom, o.ResumeBucketID)
	}
}
