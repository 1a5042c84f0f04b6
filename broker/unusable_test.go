package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"
)

// TestSystemErrorsAreNoDamage: what the system refuses is not taken for damage, which would have a sound directory put
// aside.
func TestSystemErrorsAreNoDamage(t *testing.T) {
	for _, system := range []error{
		syscall.ENOSPC, syscall.EMFILE, syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.EIO, fs.ErrPermission,
	} {
		err := unusable("data", fmt.Errorf("opening: %w", &os.PathError{Op: "open", Path: "data/x", Err: system}), false)
		var e *SystemError
		if !errors.As(err, &e) || e.Advice == "" || !errors.Is(err, system) || errors.As(err, new(*DataError)) {
			t.Errorf("%v is %T %v", system, err, err)
		}
	}
	var d *DataError
	if err := unusable("data", errors.New("a tag is wrong"), true); !errors.As(err, &d) || !d.Begun {
		t.Errorf("damage is %T %v", err, err)
	}
	if err := unusable("data", fs.ErrNotExist, false); !errors.As(err, &d) || d.Begun {
		t.Errorf("a file that is missing is %T %v", err, err)
	}
}
