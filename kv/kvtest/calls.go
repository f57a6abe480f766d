package kvtest

import (
	"context"
	"time"

	"kvd/kv"
)

// keyCall is one method of a bucket that takes a key.
type keyCall struct {
	name string
	call func(ctx context.Context, b kv.Bucket, key string) error
}

// keyCalls are all such methods.
var keyCalls = []keyCall{
	{"Get", func(ctx context.Context, b kv.Bucket, key string) error {
		_, err := b.Get(ctx, key)
		return err
	}},
	{"GetRevision", func(ctx context.Context, b kv.Bucket, key string) error {
		_, err := b.GetRevision(ctx, key, 1)
		return err
	}},
	{"GetAppend", func(ctx context.Context, b kv.Bucket, key string) error {
		_, _, err := b.GetAppend(ctx, nil, key)
		return err
	}},
	{"Put", func(ctx context.Context, b kv.Bucket, key string) error {
		_, err := b.Put(ctx, key, []byte("v"))
		return err
	}},
	{"PutString", func(ctx context.Context, b kv.Bucket, key string) error {
		_, err := b.PutString(ctx, key, "v")
		return err
	}},
	{"Create", func(ctx context.Context, b kv.Bucket, key string) error {
		_, err := b.Create(ctx, key, []byte("v"))
		return err
	}},
	{"Update", func(ctx context.Context, b kv.Bucket, key string) error {
		_, err := b.Update(ctx, key, []byte("v"), 1)
		return err
	}},
	{"Touch", func(ctx context.Context, b kv.Bucket, key string) error {
		_, err := b.Touch(ctx, key)
		return err
	}},
	{"Delete", func(ctx context.Context, b kv.Bucket, key string) error {
		_, err := b.Delete(ctx, key)
		return err
	}},
	{"Purge", func(ctx context.Context, b kv.Bucket, key string) error {
		_, err := b.Purge(ctx, key)
		return err
	}},
	{"History", func(ctx context.Context, b kv.Bucket, key string) error {
		return drain(b.History(ctx, key))
	}},
}

// bucketCall is one method of a bucket, with arguments that it accepts if the
// bucket holds the key k at revision 1.
type bucketCall struct {
	name string
	call func(ctx context.Context, b kv.Bucket) error
}

// bucketCalls are all methods of a bucket but Name.
func bucketCalls() []bucketCall {
	calls := []bucketCall{
		{"Keys", func(ctx context.Context, b kv.Bucket) error { return drain(b.Keys(ctx)) }},
		{"All", func(ctx context.Context, b kv.Bucket) error { return drain(b.All(ctx)) }},
		{"PurgeDeletes", func(ctx context.Context, b kv.Bucket) error { return b.PurgeDeletes(ctx, -time.Second) }},
		{"Watch", func(ctx context.Context, b kv.Bucket) error {
			w, err := b.Watch(ctx, nil)
			if err != nil {
				return err
			}
			return w.Stop()
		}},
		{"Status", func(ctx context.Context, b kv.Bucket) error {
			_, err := b.Status(ctx)
			return err
		}},
	}
	for _, c := range keyCalls {
		calls = append(calls, bucketCall{c.name, func(ctx context.Context, b kv.Bucket) error {
			return c.call(ctx, b, "k")
		}})
	}
	return calls
}

// storeCall is one method of a store that takes a bucket's name.
type storeCall struct {
	name string
	call func(ctx context.Context, s kv.Store, bucket string) error
}

// storeCalls are all such methods.
var storeCalls = []storeCall{
	{"CreateBucket", func(ctx context.Context, s kv.Store, bucket string) error {
		_, err := s.CreateBucket(ctx, kv.Config{Bucket: bucket})
		return err
	}},
	{"UpdateBucket", func(ctx context.Context, s kv.Store, bucket string) error {
		_, err := s.UpdateBucket(ctx, kv.Config{Bucket: bucket})
		return err
	}},
	{"CreateOrUpdateBucket", func(ctx context.Context, s kv.Store, bucket string) error {
		_, err := s.CreateOrUpdateBucket(ctx, kv.Config{Bucket: bucket})
		return err
	}},
	{"Bucket", func(ctx context.Context, s kv.Store, bucket string) error {
		_, err := s.Bucket(ctx, bucket)
		return err
	}},
	{"DeleteBucket", func(ctx context.Context, s kv.Store, bucket string) error {
		return s.DeleteBucket(ctx, bucket)
	}},
}

// listCalls are the methods of a store that take no name.
var listCalls = []struct {
	name string
	call func(ctx context.Context, s kv.Store) error
}{
	{"BucketNames", func(ctx context.Context, s kv.Store) error { return drain(s.BucketNames(ctx)) }},
	{"Buckets", func(ctx context.Context, s kv.Store) error { return drain(s.Buckets(ctx)) }},
}
