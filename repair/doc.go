// Package repair copies what is sound of a damaged store into a new one, and says record by
// record what is lost and what may have come back from the dead. It never changes the damaged
// store, and promises nothing that it cannot know.
//
// # How
//
// The damaged store is opened by the engine itself, on a view of its files that keeps in memory
// what a recovery would write ([vfs.Overlay]). So recovery finds the longer copy of the manifest,
// walks segments past damage, replays the log past holes and fills them from the tails of
// segments, and decides what is live, by the code that serves stores every day. Pages that the
// disk does not give back count as damaged. The lock of the store is held meanwhile, without
// writing to its file.
//
// If both copies of the manifest are lost, one is made from what the segments and the log say
// ([Rebuilt]). It lacks the rules of liveness that were in the manifest alone.
//
// Then each bucket is read in the order of its revisions and imported into the new store, which is
// a kv.BucketImporter: revisions, times, deadlines and headers stay. The new store has an id of its
// own, and so has each bucket. The next revision of a bucket is [RevisionGap] above that of the
// damaged one, so that no revision is ever given to two values. The new store is made beside its
// directory and renamed once it is complete.
//
// # What is lost, and what may be wrong
//
//   - A record is lost by name if its key and revision are known, and its value is not. If it is
//     the newest of its key, an older value must not pass for the newest: the key is left out,
//     and its older values are in the file lost.jsonl. [Options].PreferOlder takes them.
//     A lost marker loses nothing: that it was one is known.
//   - Records are missing if nothing tells their keys. Their number is known where a page of
//     an index block or the totals of the log have it. Each key whose newest record is not above
//     the bound of the doubt is at risk: it may have had a newer value, or have been deleted.
//     It is copied, and listed.
//   - A bucket is left out if a change of it as a whole may be missing, such as a purge-deletes or
//     its deletion. [Options].AcceptLogLoss takes it as it reads.
//   - Where the manifest was rebuilt, every key whose newest record is a value is at risk: a rule may
//     have ended it.
//
// A key that the report does not name has in the new store what it had in the old one, unless
// records of its bucket are missing: then its newest record is right, and its history may lack some
// of them. A key of which no record is left is among the missing ones too.
package repair
