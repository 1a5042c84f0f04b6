package atrest

import "os"

// SyncDir does nothing: Windows has no call for it, and NTFS journals its directories.
func SyncDir(string) error { return nil }

// othersMayAccess cannot tell on Windows, where mode bits say nothing about access lists.
func othersMayAccess(os.FileInfo) bool { return false }
