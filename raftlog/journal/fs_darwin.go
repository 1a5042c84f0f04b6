package journal

import "os"

func reserve(f *os.File, sizeBytes int64) error { return writeZeros(f, sizeBytes) }

// syncData is F_FULLFSYNC, which os.File.Sync asks for; plain fsync leaves data in the drive's cache.
func syncData(f *os.File) error { return f.Sync() }

func openDirect(string) directFile { return nil }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}
