//go:build !linux

package main

import "errors"

// scheduleAsBatch does nothing: only Linux has such a policy.
func scheduleAsBatch() error { return nil }

func processors() ([]int, error) { return nil, errors.ErrUnsupported }

func stayOn(pid, processor int) error { return errors.ErrUnsupported }
