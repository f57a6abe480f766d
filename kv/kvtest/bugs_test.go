package kvtest

import (
	"flag"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"kvd/kv"
)

// bug is a deliberate mistake of the toy store.
type bug string

const (
	none                      bug = ""
	createSeesMarkers         bug = "create is refused over a marker"
	writeNotAtomic            bug = "another write comes between check and write"
	deleteTakesNoRevision     bug = "a delete marker takes the revision before it"
	deleteOfNothingIsSilent   bug = "a delete of a missing key writes no marker"
	purgeKeepsHistory         bug = "a purge keeps the history"
	listingShowsMarkers       bug = "a listing shows deleted keys"
	listingUnordered          bug = "a listing is out of order"
	listingRepeatsKeys        bug = "a listing shows a key once a pattern"
	listingDrifts             bug = "a listing lets writers in between keys"
	historyOffByOne           bug = "one revision too many is kept"
	deltaCountsUp             bug = "delta counts what was delivered"
	editSparesHistory         bug = "a shorter history waits for the next write"
	idUsedAgain               bug = "a bucket made again has the old one's id"
	handleOutlivesBucket      bug = "a deleted bucket's handle goes on working"
	createBucketIgnoresConfig bug = "an existing bucket is returned whatever its configuration"
	bucketsUnordered          bug = "buckets are listed out of order"
	updateIgnoresMarkers      bug = "update with 0 succeeds over a marker"
	refusalSwapsRevisions     bug = "a refusal mixes up expected and actual"
	revisionOfAnyKey          bug = "a revision is found under any key"
	touchRevives              bug = "touch brings a deleted key back"
	optionsIgnored            bug = "options that do not apply are ignored"
	valueShared               bug = "a get hands out the store's own bytes"
	bufferRetained            bug = "a put keeps the caller's bytes"
	emptyMeansAbsent          bug = "an empty value reads as absent"
	appendLosesPrefix         bug = "GetAppend drops dst on an error"
	sizeLimitOffByOne         bug = "a value may be one byte too long"
	deletesNeedRoom           bug = "a full bucket refuses deletes"
	youngMarkersDropped       bug = "purging deletes ignores the threshold"
	youngMarkersKeepHistory   bug = "purging deletes keeps what is behind a young marker"
	statusCountsMarkers       bug = "the status counts deleted keys"
	timesFall                 bug = "creation times fall"
	emptyTokensAllowed        bug = "a key may have an empty token"
	contextIgnored            bug = "a cancelled context does not stop a call"
	closedStoreAnswers        bug = "a closed store answers"
	restartForgetsCounter     bug = "a restart counts revisions from those kept"
	bucketConditionIgnored    bug = "a condition on the whole bucket is ignored"
	submitStopsAtError        bug = "a submit stops at the first refusal"
	allIsStale                bug = "All yields the oldest entries that are kept"
	allDrifts                 bug = "All reads each entry when it comes to it"
	errorsNameless            bug = "errors name neither bucket nor key"
	staleReadsAreOld          bug = "a reader that accepts stale answers gets the oldest value"
	staleConditions           bug = "a stale context passes every condition"
	soundBucketInDoubt        bug = "a sound bucket is in doubt"
	doubtOutlivesBucket       bug = "a deleted bucket's loss is accepted"

	keyTTLIgnored      bug = "the TTL of a key is ignored"
	bucketTTLIgnored   bug = "the TTL of a bucket is ignored"
	purgeTTLIgnored    bug = "the TTL of a purge is ignored"
	expiryUncovers     bug = "an expired value uncovers an older one"
	expiryIsSilent     bug = "an expired key leaves no marker"
	touchKeepsDeadline bug = "touch keeps the deadline there was"

	watchLosesChanges      bug = "a watch loses every fifth change"
	watchRepeatsPatterns   bug = "a watch delivers a change once a pattern"
	watchSwapsChanges      bug = "a watch delivers a change before one that waits"
	watchOrderedByKey      bug = "a watch begins in the order of keys"
	watchHasNoEnd          bug = "a watch never says that its initial entries are complete"
	watchOfNothingHasNoEnd bug = "a watch that begins with nothing does not say so"
	watchEndsEarly         bug = "the end of the initial entries comes before the last"
	watchOfUpdatesEnds     bug = "a watch of updates only begins with an end"
	watchDeltaCountsItself bug = "the delta of an initial entry counts itself"
	watchDeltaOfChanges    bug = "the delta of a change is 1"
	watchHidesMarkers      bug = "a watch begins without markers"
	watchShowsDeletes      bug = "a watch without deletes begins with them"
	watchShowsLaterDeletes bug = "a watch without deletes delivers later ones"
	watchSendsValues       bug = "a watch without values has them"
	watchSizeOfNothing     bug = "an update says one byte too many"
	notifiesEarly          bug = "a poller is notified before it has polled"
	notifiesOften          bug = "a poller is notified of every event"
	watchIgnoresHistory    bug = "a watch of the history begins with the newest records"
	watchIgnoresPatterns   bug = "a watch delivers changes that no pattern selects"
	watchTakesBadPatterns  bug = "a bad pattern is taken"
	watchOptionsMixed      bug = "options that exclude each other are taken"
	watchJoinHasGap        bug = "a write between the initial entries and the changes is missed"
	watchJoinOverlaps      bug = "a write between the initial entries and the changes comes twice"
	watchResumesAfter      bug = "a resumed watch begins after the revision"
	watchResumesWithNewest bug = "a resumed watch begins with the newest records"
	watchResumesAnywhere   bug = "a watch is resumed in another life of the bucket"
	watchWaitsForTheFuture bug = "a watch resumes at a revision that was never issued"
	watchForgetsEnds       bug = "a resumed watch is not told of an end that is forgotten"
	slowWatchLoses         bug = "a watch that nobody reads loses changes"
	stopLeavesOpen         bug = "Stop leaves the channel open"
	stopIsAnError          bug = "Stop leaves an error"
	stopStopsAll           bug = "Stop ends every watch of the bucket"
	allEndsSilently        bug = "All ends without the error"
	watchOutlivesContext   bug = "a watch goes on after its context"
	watchForgetsCause      bug = "a watch that ended has no error"
	watchOutlivesBucket    bug = "a watch of a deleted bucket goes on"
	watchOutlivesStore     bug = "a watch of a closed store goes on"
	pollIgnoresFalse       bug = "Poll goes on after fn has returned false"
	pollRepeats            bug = "Poll delivers again what fn ended with"
	notifiesOnce           bug = "a poller is notified once"
	pollEndIsSilent        bug = "a poller is not notified of the end"
	pollEndIsNil           bug = "Poll does not say that the watch has ended"
	pendingCountsChanges   bug = "Pending counts changes too"
)

// bugs has every bug and a fact that it breaks.
var bugs = []struct {
	bug   bug
	group string
	fact  string
}{
	{allIsStale, "all", "yields the newest entry of every key that a pattern selects, in ascending order"},
	{allDrifts, "all", "is the state of one revision"},
	{errorsNameless, "error", "of a key that is not found names bucket and key"},
	{staleReadsAreOld, "stale reader", "of a sound bucket reads what every other reader reads"},
	{staleConditions, "stale reader", "cannot make a condition judge another state"},
	{soundBucketInDoubt, "doubt", "a sound bucket has none, and nothing to accept"},
	{doubtOutlivesBucket, "doubt", "a deleted bucket tells of none"},
	{createSeesMarkers, "create", "over a delete marker succeeds and keeps the history"},
	{writeNotAtomic, "concurrency", "of updates of one revision exactly one wins"},
	{deleteTakesNoRevision, "revision", "they rise with every record, over all keys of the bucket"},
	{deleteOfNothingIsSilent, "delete", "of a key that does not exist writes a marker"},
	{purgeKeepsHistory, "purge", "makes the key absent and drops its history"},
	{listingShowsMarkers, "keys", "a bucket of markers lists nothing"},
	{listingUnordered, "keys", "a listing has every key that a pattern selects, once, in ascending order"},
	{listingRepeatsKeys, "keys", "a listing has every key that a pattern selects, once, in ascending order"},
	{listingDrifts, "concurrency", "a listing beside writers is the state of one revision"},
	{historyOffByOne, "history", "keeps the newest ones up to the bucket's history, per key"},
	{deltaCountsUp, "history", "yields what is kept, oldest first, with what is still to come"},
	{editSparesHistory, "edit", "a shorter history is applied to what is stored, at once"},
	{idUsedAgain, "delete bucket", "a bucket made again is empty, starts at revision 1 and has another id"},
	{handleOutlivesBucket, "delete bucket", "every method of a deleted bucket's handle fails"},
	{createBucketIgnoresConfig, "bucket", "creating a bucket again with another configuration is refused and changes nothing"},
	{bucketsUnordered, "bucket", "buckets are listed in ascending order of names"},
	{updateIgnoresMarkers, "update", "with 0 is refused over a marker"},
	{refusalSwapsRevisions, "update", "of an older revision is refused, says which is newest, and changes nothing"},
	{revisionOfAnyKey, "get revision", "of another key's revision finds nothing"},
	{touchRevives, "touch", "of an absent key is refused and writes nothing"},
	{optionsIgnored, "option", "one that does not apply is refused and nothing is written"},
	{valueShared, "value", "the caller may change a value it was given"},
	{bufferRetained, "value", "the caller may reuse a buffer once the write has returned"},
	{emptyMeansAbsent, "value", "an empty value is a value"},
	{appendLosesPrefix, "append", "on an error dst comes back as it was"},
	{sizeLimitOffByOne, "value", "a value over the max value size is refused, with both sizes, and nothing is written"},
	{deletesNeedRoom, "size limit", "deletes and purges are admitted past it"},
	{youngMarkersDropped, "purge deletes", "with the default threshold keeps young markers and drops the history behind them"},
	{youngMarkersKeepHistory, "purge deletes", "with a threshold of an hour keeps young markers and drops the history behind them"},
	{statusCountsMarkers, "status", "keys counts keys with a value"},
	{timesFall, "revision", "creation times never fall as revisions rise"},
	{emptyTokensAllowed, "key", "a bad key is refused by every method, with the offending byte"},
	{contextIgnored, "context", "a cancelled one ends every method of a bucket, and nothing is written"},
	{closedStoreAnswers, "close", "every method of a closed store and its buckets fails"},
	{restartForgetsCounter, "reopen", "revisions go on and none is used again"},
	{submitStopsAtError, "submit", "each fails by itself"},
	{bucketConditionIgnored, "submit", "one may expect the bucket to be at a revision, whatever its key"},

	{keyTTLIgnored, "expiry", "a value with a TTL goes, from every read"},
	{bucketTTLIgnored, "expiry", "a bucket's TTL ends every value, also one with a longer TTL"},
	{purgeTTLIgnored, "expiry", "the TTL of a purge ends its marker"},
	{expiryUncovers, "expiry", "with the newest value goes the key: no older value shows again"},
	{expiryIsSilent, "expiry", "an expired key leaves a marker with a revision of its own"},
	{touchKeepsDeadline, "expiry", "touch renews the TTL and keeps the value"},

	{watchLosesChanges, "watch changes", "every write comes, once, in order"},
	{watchRepeatsPatterns, "watch changes", "those that several patterns select come once"},
	{watchSwapsChanges, "watch join", "that nobody reads does not hold up writers, and gets everything that is kept"},
	{watchOrderedByKey, "watch", "the newest record of each key comes, markers included, in ascending order of revisions, and then the end"},
	{watchHasNoEnd, "watch", "IncludeHistory begins with every kept record"},
	{watchOfNothingHasNoEnd, "watch", "the end comes also when nothing matches"},
	{watchEndsEarly, "watch", "the newest record of each key comes, markers included, in ascending order of revisions, and then the end"},
	{watchOfUpdatesEnds, "watch", "UpdatesOnly begins with nothing, not even the end"},
	{watchDeltaCountsItself, "watch", "the newest record of each key comes, markers included, in ascending order of revisions, and then the end"},
	{watchDeltaOfChanges, "watch changes", "every write comes, once, in order"},
	{watchHidesMarkers, "watch", "the newest record of each key comes, markers included, in ascending order of revisions, and then the end"},
	{watchShowsDeletes, "watch", "IgnoreDeletes leaves markers out, and the end still comes"},
	{watchShowsLaterDeletes, "watch changes", "IgnoreDeletes leaves markers out"},
	{watchSendsValues, "watch", "MetaOnly leaves values out"},
	{watchSizeOfNothing, "watch changes", "an update says how large the value is, if it says anything"},
	{notifiesEarly, "watch poll", "nobody is notified before the first Poll, and once after it"},
	{watchIgnoresHistory, "watch", "IncludeHistory begins with every kept record"},
	{watchIgnoresPatterns, "watch changes", "those that no pattern selects do not come"},
	{watchTakesBadPatterns, "watch", "a bad pattern is refused"},
	{watchOptionsMixed, "watch", "IncludeHistory and UpdatesOnly exclude each other"},
	{watchJoinHasGap, "watch join", "of all records joins the changes without gap or overlap"},
	{watchJoinOverlaps, "watch join", "of all records joins the changes without gap or overlap"},
	{watchResumesAfter, "watch resume", "everything kept from the revision on comes, that one included, and then the end"},
	{watchResumesWithNewest, "watch resume", "everything kept from the revision on comes, that one included, and then the end"},
	{watchResumesAnywhere, "watch resume", "with another bucket's id it is refused"},
	{watchWaitsForTheFuture, "watch resume", "from a revision above that it fails, and names the newest"},
	{watchForgetsEnds, "watch resume", "before a forgotten end of a key it fails, and names the revision from which on nothing is missing"},
	{slowWatchLoses, "watch join", "that nobody reads does not hold up writers, and gets everything that is kept"},
	{stopLeavesOpen, "watch end", "Stop closes the channel and leaves no error"},
	{stopIsAnError, "watch end", "Stop closes the channel and leaves no error"},
	{stopStopsAll, "watch end", "Stop of one leaves the others alone"},
	{allEndsSilently, "watch end", "All ends with the error of the context"},
	{watchOutlivesContext, "watch end", "the end of its context ends it with that error"},
	{watchForgetsCause, "watch end", "the end of its context ends it with that error"},
	{watchOutlivesBucket, "watch end", "a watch of a deleted bucket ends"},
	{watchOutlivesStore, "watch close", "a watch of a closed store ends"},
	{pollIgnoresFalse, "watch poll", "Poll delivers what the channel would"},
	{pollRepeats, "watch poll", "Poll delivers what the channel would"},
	{notifiesOften, "watch poll", "nobody is notified before the first Poll, and once after it"},
	{notifiesOnce, "watch poll", "the function of Notify is called again for every event that comes to one who waits"},
	{pollEndIsSilent, "watch poll", "the end of the bucket is an end that is notified"},
	{pollEndIsNil, "watch poll", "after Stop it says so"},
	{pendingCountsChanges, "watch poll", "Pending says how many initial entries are due"},
}

// seeded is the bug of the toy in this process; see TestSuiteCatches.
var seeded = flag.String("bug", string(none), "the mistake that the toy store of TestToy makes")

// TestToy runs the suite against the toy: without a bug it passes.
func TestToy(t *testing.T) {
	if *seeded != string(none) {
		patience = time.Second // a fact that a bug breaks may wait for an event that never comes
	}
	Run(t, Harness{
		Open: func(t *testing.T) kv.Store {
			s := newToy(bug(*seeded))
			t.Cleanup(func() { _ = s.Close() })
			return s
		},
		Reopen:      func(_ *testing.T, s kv.Store) kv.Store { return s.(*toy).reopen() },
		ShortestTTL: 5 * time.Millisecond,
	})
}

// TestSuiteCatches runs TestToy again for each bug, and expects that the fact which the
// bug breaks fails. It uses a process for each, because a failure of a subtest is a
// failure of its parents too.
func TestSuiteCatches(t *testing.T) {
	if *seeded != string(none) {
		t.Fatal("a process with a bug runs TestToy alone")
	}
	for _, b := range bugs {
		t.Run(string(b.bug), func(t *testing.T) {
			t.Parallel()
			pattern := fmt.Sprintf("^TestToy$/^%s$/^%s$", subtest(b.group), regexp.QuoteMeta(subtest(b.fact)))
			self := flag.CommandLine.Name()
			out, err := exec.CommandContext(t.Context(), self, "-test.run", pattern, "-bug", string(b.bug)).CombinedOutput()
			if err == nil {
				t.Fatalf("the suite passed:\n%s", out)
			}
			if want := "--- FAIL: TestToy/" + subtest(b.group) + "/" + subtest(b.fact) + " "; !strings.Contains(string(out), want) {
				t.Fatalf("%v, but without %q:\n%s", err, want, out)
			}
		})
	}
}

// TestRunRefuses checks that Run refuses a harness that makes no sense.
func TestRunRefuses(t *testing.T) {
	for name, h := range map[string]*Harness{
		"no open":            {},
		"unknown difference": {Open: openNothing, Differs: map[Difference]string{"who knows": "why"}},
		"no reason":          {Open: openNothing, Differs: map[Difference]string{ListingsDrift: ""}},
	} {
		t.Run(name, func(t *testing.T) {
			if h.check() == nil {
				t.Fatal("the harness was accepted")
			}
		})
	}
}

func openNothing(*testing.T) kv.Store { return nil }

// subtest returns the name of a subtest in the form of package testing.
func subtest(name string) string { return strings.ReplaceAll(name, " ", "_") }
