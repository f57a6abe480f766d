package kv

// As returns v as a T, or what v wraps as one. It is how a caller asks a [Store], a
// [Bucket] or a [Watcher] for what only some of them have: [Submitter], [Transactor], [Reclaimer],
// [BucketImporter], [Poller], [Watched] and others. A type assertion would not see through a wrapper.
//
// A wrapper has a method that tells what is underneath: Unwrap() Store or Unwrap()
// Bucket. So it passes on everything that it does not know itself. A wrapper that has
// to see the calls of such an interface, but can do so only where the wrapped value
// has it, also has a method As(target any) bool: where target is a pointer to that
// interface and the wrapped value has it, As sets the pointer and returns true.
func As[T any](v any) (T, bool) {
	for {
		if t, ok := v.(T); ok {
			return t, true
		}
		if w, ok := v.(interface{ As(target any) bool }); ok {
			if t := new(T); w.As(t) {
				return *t, true
			}
		}
		switch w := v.(type) {
		case interface{ Unwrap() Store }:
			v = w.Unwrap()
		case interface{ Unwrap() Bucket }:
			v = w.Unwrap()
		default:
			var none T
			return none, false
		}
	}
}
