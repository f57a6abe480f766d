package bucket

import "time"

// placePause is the time between two checks that the log is where an open would look for it.
const placePause = time.Second

// checkPlace makes the store read-only if the directory was removed or replaced under it. It
// looks once in placePause, before the write at hand is carried out. So only writes of the last
// second can be lost that way, and none to a store that was idle. The caller holds path.
func (s *Store) checkPlace() error {
	if time.Since(s.path.placeChecked) < placePause {
		return nil
	}
	return s.checkPlaceLocked()
}

// checkPlaceNow is checkPlace whatever the time of the last check. What writes files by their
// names calls it: they could replace those of another store. The caller does not hold path.
func (s *Store) checkPlaceNow() error {
	s.path.Lock()
	defer s.path.Unlock()
	return s.checkPlaceLocked()
}

func (s *Store) checkPlaceLocked() error {
	if s.log == nil { // recovery
		return nil
	}
	s.path.placeChecked = time.Now()
	if err := s.log.CheckPlace(); err != nil {
		_ = s.poison(err) // no write is under way
		return s.checkFailure()
	}
	return nil
}
