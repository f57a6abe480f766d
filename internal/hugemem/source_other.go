//go:build !linux || race

package hugemem

func (s *Source) grow() []byte { return make([]byte, ChunkSize) }

func (s *Source) prepare([]byte) {}
