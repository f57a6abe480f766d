package lineproto

import (
	"strings"

	"kvd/kv"
)

// AllBuckets stands for all buckets.
const AllBuckets = "*"

// JoinBuckets returns the word for buckets of those names; for none it is [AllBuckets].
func JoinBuckets(names []string) string {
	if len(names) == 0 {
		return AllBuckets
	}
	return strings.Join(names, ",")
}

// SplitBuckets returns the names in a word, none for [AllBuckets]. They refer to the word.
func SplitBuckets(word string) []string {
	if word == AllBuckets {
		return nil
	}
	return strings.Split(word, ",")
}

func checkBuckets(word string) error {
	for _, name := range SplitBuckets(word) {
		if err := kv.CheckBucketName(name); err != nil {
			return err
		}
	}
	return nil
}
