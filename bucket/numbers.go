package bucket

import "sync"

// fileNumbers hands out the numbers of segments and value files, each once. The manifest has the
// end of the reserved ones: see numberBlock. It is safe for concurrent use; its lock is a leaf.
type fileNumbers struct {
	mu       sync.Mutex
	next     uint64
	reserved uint64 // numbers below it may be handed out
}

// begin sets the first number, and the end of the reserved ones.
func (n *fileNumbers) begin(first, reserved uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next, n.reserved = first, reserved
}

// reserve raises the end of the reserved numbers. The manifest has it.
func (n *fileNumbers) reserve(end uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reserved = end
}

// take returns the next number. If the reserved ones are used up, the error is errNumbers: a
// checkpoint reserves more.
func (n *fileNumbers) take() (uint64, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next >= n.reserved {
		return 0, errNumbers
	}
	n.next++
	return n.next - 1, nil
}

// giveBack takes back a number of which there is no file, so that a full disk does not use up
// the numbers.
func (n *fileNumbers) giveBack(number uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if number+1 == n.next {
		n.next = number
	}
}

// end returns the end of the numbers that were handed out.
func (n *fileNumbers) end() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.next
}

// more returns the end of the numbers that the next manifest is to reserve.
func (n *fileNumbers) more() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.reserved-n.next > numberBlock/2 {
		return n.reserved
	}
	return n.reserved + numberBlock
}
