package envelope

import (
	"math"
	"time"
)

// ClockSkew is how far two honest clocks may lie apart: validity windows are read with so much tolerance at both ends.
const ClockSkew = 5 * time.Minute

// MaxValidity is how long an identity statement, and with it a key record, is valid at most.
const MaxValidity = 30 * 24 * time.Hour

// minutes returns t in whole unix minutes, rounded down and clamped to what 32 bits hold.
func minutes(t time.Time) uint32 {
	m := t.Unix() / 60
	switch {
	case t.Unix() < 0:
		return 0
	case m > math.MaxUint32:
		return math.MaxUint32
	}
	return uint32(m)
}

func fromMinutes(m uint32) time.Time { return time.Unix(int64(m)*60, 0).UTC() }

// checkWindow tells whether now lies between notBefore and notAfter, give or take ClockSkew.
func checkWindow(now, notBefore, notAfter time.Time) error {
	if now.Before(notBefore.Add(-ClockSkew)) {
		return ErrNotYetValid
	}
	return checkNotAfter(now, notAfter)
}

func checkNotAfter(now, notAfter time.Time) error {
	if now.After(notAfter.Add(ClockSkew)) {
		return ErrExpired
	}
	return nil
}
