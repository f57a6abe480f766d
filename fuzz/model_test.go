package fuzz

import (
	"fmt"
	"testing"

	"kvd/internal/vfs/simdisk"
)

// TestModel runs workloads without faults and compares store and model after every step.
func TestModel(t *testing.T) {
	trySeeds(t, 1, effort(200), 80, runPlainly)
}

func runPlainly(load *workload) error {
	w := newWorld(load, simdisk.New())
	if err := w.start(); err != nil {
		return err
	}
	for i := range load.ops {
		if load.ops[i].kind == opCrash {
			continue
		}
		if err := w.run(&load.ops[i]); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		if err := w.agrees(); err != nil {
			return fmt.Errorf("after step %d: %w", i, err)
		}
	}
	return w.stop()
}
