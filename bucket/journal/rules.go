package journal

import "kvd/bucket/manifest"

// ChangeRules applies to the rules of a bucket what an operation on it decides about them. Other
// operations change nothing. Applying one twice changes nothing more.
func ChangeRules(l *manifest.Liveness, op Operation) {
	switch op := op.(type) {
	case *Edit:
		if op.Cuts() {
			l.AddCut(op.Cut)
		}
	case *PurgeDeletes:
		l.AddPurgeDeletes(op.Rule)
	case *Expire:
		l.ExpiredUpTo, l.UnmarkedUpTo = max(l.ExpiredUpTo, op.ExpiredUpTo), max(l.UnmarkedUpTo, op.UnmarkedUpTo)
	case *ExpireMarkers:
		l.MarkersExpiredUpTo = max(l.MarkersExpiredUpTo, op.MarkersExpiredUpTo)
		l.UnmarkedUpTo = max(l.UnmarkedUpTo, op.UnmarkedUpTo)
	}
}
