// Package index is the in-memory index of one bucket: from a key to the places
// of its kept versions, and all keys in order.
//
// It answers without reading a record: the newest version of a key, a given
// revision, the newest at or below a revision, the history, the floor that a
// further version should carry, ordered listings as of one moment, and the
// number of live keys, versions and bytes. It also keeps the digest of all versions (package
// kv/digest), at a constant cost for each change. The engine decides which versions are
// removed, and calls the index to remove them.
//
// # Structure
//
//	hash ─► table ──► slot {tag, key, row, hint}
//	                     │     │
//	        ┌────────────┘     └───────────┐
//	        ▼                              ▼
//	arena   entry {top, len, key}   rows   row ─older─► row ─older─► row
//	        ▲   └────── top ──────────────► (or a head, under a snapshot)
//	        │
//	tree ───┘ google/btree of leaves, each of up to 126 keys, in order of bytes
//
// The [table] finds a key's slot by its hash. The slot names the key's entry in
// the [arena], where its bytes are, and its newest [row]; both are fetched side
// by side. A [hint] beside them says where the record of that version is, so that
// [Index.Prefetch] lets a caller fetch it meanwhile. A row is a version: revision, time, place, size, and the next older
// row, so the rows of a key are a chain, newest first. The [tree] has one place
// for each key, not for each version: a put of a key that exists touches neither
// tree nor table, and with a history of one rewrites one row in place. So the order
// is by key in the tree, then by revision in the key's chain.
//
// The tree is a B-tree of github.com/google/btree whose items are leaves: arrays of
// keys without pointers. btree keeps the leaves in order, splits and joins its own
// nodes and clones them. This package searches, splits and joins leaves.
//
// There is no Go pointer per key. References are 32 bits, into vectors of pages that
// grow without moving. A key of 16 bytes with one version takes, beside its own bytes,
// 80 to 85 bytes: row 32, entry 8.5 with rounding, slots 22 and up to 4 between them, tree 18.
// A further version takes 32 bytes.
//
// A chain of more than 16 and up to 64 versions has a [ring] of its rows, of 4 to 8 bytes a
// version. A put to a key with a full history finds the versions at the old end by it.
//
// # Memory
//
// A small index is in Go's heap. From 8 MiB on, some 80,000 keys, its further pages and the slots
// of its bins are in chunks of 2 MiB outside, which the system backs by huge pages; see package
// hugemem. Leaves and btree's nodes stay in the heap, because clones share them. So neither a
// collection's pace nor GOMEMLIMIT counts the larger part of an index.
//
// Pointers into a chunk do not keep its index reachable, and the chunks of an unreachable index are
// unmapped. The lock that the engine holds is in the struct that has the index, and its walks
// release their snapshot at the end: both keep the index reachable as long as anything reads it.
//
// # Deadlines
//
// A version with a deadline takes a second row of 32 bytes, its extension. The
// extension holds the deadline and the links of a timing wheel. There are two wheels,
// each an [Agenda]: one for puts that are the newest of their key, one for purge
// markers. A wheel takes 3 KiB once it had a version. A version that is removed, or a
// put that is superseded, is taken off its agenda at once.
//
// Limits: keys of 1 to 1,024 bytes; 2³¹ rows and 32 GiB of entries in one index
// ([Index.Full] tells in time); segments below 2²⁴, offsets below 2³¹ and
// multiples of 8. Methods panic on values outside these limits. The engine checks
// the values that it reads from disk before it calls the index.
//
// # Concurrency
//
// The engine guards an Index with a lock. Methods documented as "a read" may run while
// the lock is shared. All others need it alone, [Index.Snapshot] and
// [Snapshot.Release] too. The other methods of a Snapshot need no lock.
//
// # Snapshots
//
// A snapshot is an epoch and a clone of the tree. Taking one raises the epoch:
// later writes belong to the next epoch. Three rules keep what a snapshot sees:
//
//   - A leaf that an open snapshot can reach is copied before it is changed, and
//     the copy takes its place in the present's tree. btree copies its own nodes
//     likewise, each once after a clone, even if the clone is gone by then.
//   - Under a snapshot a key's versions change by a new [head] in front of the head
//     or row that its entry's top led to. The head holds the versions from this
//     epoch on: a row, and how many versions from that row on. A snapshot takes the
//     first head that is not newer than itself. The rows of a chain are not changed,
//     except for their place, which is one word ([Index.Move] shows in snapshots too).
//   - Rows, heads, separators and entries that a snapshot may still see are [retired]
//     to a queue. Every write frees a few that no open snapshot is old enough for, so
//     a release does not stall other callers. A head that every open snapshot sees is
//     unlinked: the chain is cut to the versions it holds, and the top is a row again.
//
// A walk shows a key of a snapshot some keys after its entry and its row were prefetched; see
// [window].
//
// A version that is added and removed under one snapshot is freed at once. So a
// snapshot costs memory for each key that changed since, not for each write.
//
// # Opening
//
// [Index.Load] fills everything but the tree. Then reads and writes may begin, and
// [Index.BuildTree] puts the keys into the tree in the background, a few at a time. Before,
// [Index.Order] sorts them, beside readers and writers: keys in order fill one leaf after the
// other, most without a search. Sorting and building 1 M random keys takes 250 ns a key of
// processor time, where building in the order of the first revisions takes 400 (prefixed keys 350
// and 450), and the leaves are fuller: 81 bytes a key instead of 85 (BenchmarkOpen).
//
// An index can be written as an image, its memory as it is, and read again ([Index.Write],
// [Read]). Then no key is looked up or compared: 33 ns a key for 1 M random keys, where Load and
// BuildTree take about 500 (BenchmarkImage).
//
// # Why
//
// The first column was measured on a shared machine of two cores, Xeon, Go 1.26.8, with
// a B+ tree of our own above the leaves. It is processor time of the thread, not wall
// time, because others kept the machine busy. A random read from a table of bare slots
// took 112 ns (1 M) and 155 ns (10 M) beside it. Random keys have 16 bytes. Prefixed keys
// have 40, of which the first 17 to 21 are one of 20 beginnings.
//
//	                                 1 M random  1 M prefixed  10 M random
//	Newest, hit                          270 ns        420 ns       410 ns
//	put of a new key                     640 ns        990 ns      1270 ns
//	put of an old key, history 1         460 ns        510 ns       940 ns
//	  … a snapshot every 4,096 puts      740 ns        770 ns      1250 ns
//	drop a key and put it anew,
//	  a snapshot every 4,096           2,500 ns      3,200 ns     7,300 ns
//	listing, a key                       150 ns        155 ns       220 ns
//	listing ten keys from one on       2,000 ns      2,300 ns     3,500 ns
//	Load, a key                          275 ns        330 ns       490 ns
//	BuildTree, a key                     275 ns        470 ns       940 ns
//	bytes a key beyond its own            75.5          76.8         75.4
//	forced collection                     3 ms          4 ms        33 ms
//	longest bin split or growth, mean                               12 µs
//
// With google/btree above the leaves the same operations took, as a multiple of the
// processor time with our own tree (EPYC, two cores, under a load of 15 to 30, so all
// times were two to four times those above; both ran at the same time on one core;
// medians of five pairs at 1 M, one pair at 10 M):
//
//	                          1 M random  prefixed  ascending  10 M random
//	put of a new key                1.09      0.88       0.96         1.16
//	  … a snapshot every 4,096      1.17      0.95       0.94
//	BuildTree                       1.01      1.04       0.94
//	drop a key and put it anew      1.11      0.82       1.03         1.09
//	  … a snapshot every 4,096      1.10      1.02       1.06         1.16
//	  … bytes allocated             1.03      1.03       1.07         1.16
//	listing, a key                  0.93      0.98       1.01
//	listing ten keys from one on    1.09      1.00       1.07         0.99
//	Snapshot and Release            2.45      2.18       2.65
//	bytes a key                     1.00      1.00       1.01         1.00
//	forced collection               1.07      1.05       1.08         0.91
//	Newest, which is the same code  1.02      1.25       1.01         0.99
//
// Newest shows how much of a ratio is noise. What is left over our own tree is btree's
// binary search: each of some 14 steps is a call through a function value and a cache
// line that the step before decides, where our inner nodes read eight lines that do not
// depend on each other. Under a snapshot a leaf that is copied is also searched for a
// second time, to replace it. A snapshot costs 250 ns instead of 100, for the three
// objects of a clone.
//
// A get waits for two cache misses in turn, its slot and then everything else, and not for three:
// the hint lets the record be fetched beside row and key. With 1 M keys of 16 bytes and values of
// 128, a GetAppend of package bucket took 906 ns of processor time with one reader where it had
// taken 1,144, and 847 instead of 1,074 with two: 1.30 and 1.27 times the speed (medians of 20 and
// 15 pairs of slices of 100,000 gets, in turn in two processes on a busy EPYC of two cores). The
// hint costs 5.5 bytes a key. The 8 bytes of the whole place and the 4 of the size would cost 17,
// and the row would still be read, for what the entry of a get has beside the value.
//
// Huge pages make a get faster by as much again as a tenth to a fifth: 1.19 times with one reader
// (quartiles 1.12 to 1.25) and 1.31 with two (1.18 to 1.42), in 10 and 8 pairs as above. A put of a
// new key took 660 to 675 ns of processor time instead of 790, because the system clears one page
// where it cleared 512. Opening 1 M keys gained 3 %.
//
// A walk that prefetches with an instruction took 75 ns a key where one that read ahead by windows of
// up to 32 keys took 138 (BenchmarkAscend, 1 M random keys, four interleaved pairs), and one from key to
// key 1.3 times that. A read that has not arrived holds up the processor some dozen keys later; a
// prefetch does not. Ten keys from one on took the same 2.0 to 3.0 µs, because the steps begin a few
// keys behind one another. A whole listing by Keys took 102 ns of processor time a key instead of
// 174: 1.70 times the speed (quartiles 1.69 to 1.75, nine pairs). In a get the instruction gained
// nothing over a read that nobody waits for.
//
// A put to one of 50,000 keys that keep 64 versions, FloorAfter and Apply, took 0.49 µs of
// processor time with rings and 3.80 by walking (five pairs, p = 0.008), for 37.5 bytes a version
// instead of 33. Durable puts of 64 writers to 10,000 such keys reached 0.83 of the rate with a
// history of one; by walking 0.61 (medians of five, on a disk so busy that p is 0.15).
//
// What churn does to memory, in bytes a key with its own 16, live after a collection (200,000
// random keys). A long listing beside writers costs memory, overwriting does not:
//
//	filled                                                         92
//	each key overwritten four times                                92
//	  … a snapshot every 4,096 puts                                94
//	each key overwritten once under one snapshot                  188
//	  … once that is released: its rows wait to be used again     156
//	each key removed and put anew four times after that           157
//
// By default the collector lets a heap double before it collects. When all of an index was in the
// heap, a process therefore had twice its size after some churn.
//
// To measure again, build the tests of two versions (go test -c -o A.test ./index) and
// run both at once, pinned to one core:
//
//	taskset -c 0 ./A.test -test.run '^$' -test.bench 'Insert$/keys=random/n=1000000$' -test.benchtime=1x
//	taskset -c 0 ./A.test -test.run '^$' -test.bench 'Replace/keys=random/n=1000000$' -test.benchtime=100000x
//
// What lost:
//
//   - A heap of deadlines beside the rows: 16 bytes more for each. Many times that if
//     a key is touched all the time and the heap removes stale items only when they
//     come up; to remove them earlier, each row needs its position in the heap.
//   - One item of btree for each key (12 bytes: eight of the key, and a reference).
//     A put of a new key took 1.15–1.35 µs where a tree of leaves took 0.95–1.03
//     beside it, and 2.9–3.1 against 1.3–1.8 with prefixed keys: eight bytes that
//     all keys share decide nothing, so every comparison reads the arena. Leaves do
//     not pay this. A leaf skips what the two separators around it share, and the
//     eight bytes after that nearly always decide. btree compares only separators,
//     one for some 90 keys, and 24 bytes of each stand in its nodes. A collection
//     took twice as long, because the collector reads every node of btree; it does
//     not read leaves. Loaded keys had to be sorted first (1.0 s for 1 M, 2.5 s
//     prefixed).
//   - A B+ tree of our own instead of btree above the leaves: random keys are faster, as
//     the table shows, but splits, joins and copies of inner nodes are ours to get right.
//   - Items of eight bytes of the separator: a new prefixed key took 1.6 times as long.
//     63 items a node: 3 % slower at 1 M keys than 127; more than 127 gain nothing.
//   - The newest row in the tree's item: every put would search the tree, 0.3 to
//     1 µs, and copy nodes under a snapshot. The entry's top changes by one store.
//   - An epoch in each row instead of heads: 8 more bytes a version, although few keys
//     change under a snapshot.
//   - Extendible hashing: lookups 5 % faster, but its directory doubles in one
//     insert, 1 MB at 10 M keys. Linear hashing splits one bin at a time, and keys
//     chosen to collide cost a larger bin instead of a larger directory.
//   - Free lists by size for the bytes of keys, without joining neighbours: the room
//     of short keys is never used for longer ones. Pages of one size each: a page for
//     each length, too much for small buckets.
//   - A prefetch of the next leaf during a walk: no difference. A prefetch of the ends of longer keys: keys
//     of 40 bytes took 79 ns instead of 61.
//   - Binary search in leaves: every step waits for memory. Looking at one key a
//     cache line does not.
//   - Pages of one size, which spares every access a branch: 5 % of a lookup,
//     against 200 KiB for each of ten thousand small buckets.
//   - Blocks of slots in size classes: what the bins of one size leave behind is never used for
//     those of another. Runs of units leave 12 to 18 % of the slots' memory between them.
//
// Left out: pages are not freed when a bucket shrinks, they are used again when it
// grows. Chains of more than 64 versions are walked link by link.
package index
