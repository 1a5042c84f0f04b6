//go:build !linux

package main

// scheduleAsBatch does nothing: only Linux has such a policy.
func scheduleAsBatch() error { return nil }
