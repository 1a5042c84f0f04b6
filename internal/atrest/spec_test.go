package atrest_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A second decoder, written from the format's description alone: it shares no code with the package, so a mistake that
// writer and reader make alike shows here.

func specVector(t *testing.T, name string) []byte {
	text, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func specPAE(label string, fields ...[]byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(label)))
	b = append(b, label...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(fields)))
	for _, f := range fields {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	return b
}

func specDerive(t *testing.T, key, salt, info []byte) (fileKey, commitment []byte) {
	okm, err := hkdf.Key(sha256.New, key, salt, string(info), 64)
	if err != nil {
		t.Fatal(err)
	}
	return okm[:32], okm[32:]
}

func specOpen(t *testing.T, key, sealed, aad []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	plaintext, err := gcm.Open(nil, nil, sealed, aad)
	if err != nil {
		t.Fatal(err)
	}
	return plaintext
}

// specDataKeys opens the ring file and returns its data keys by id.
func specDataKeys(t *testing.T) map[string][]byte {
	file, rootKey := specVector(t, "rings"), specVector(t, "root-key")
	body := file[:len(file)-32]
	if digest := sha256.Sum256(body); !bytes.Equal(digest[:], file[len(body):]) {
		t.Fatal("ring file: digest differs")
	}
	if string(body[:6]) != "SMQK\x01\x01" || string(body[6:18]) != "\x0bhkdf-sha256" || body[18] != 32 {
		t.Fatalf("ring file starts with %x", body[:19])
	}
	salt, id := body[19:51], body[51:67]
	at := 75 // after the generation
	if body[at] != 1 {
		t.Fatalf("ring file has %d wraps", body[at])
	}
	nameLen := int(body[at+1])
	rootID := body[at+2 : at+2+nameLen]
	at += 2 + nameLen
	wrapped := body[at+2:][:binary.BigEndian.Uint16(body[at:])]
	at += 2 + len(wrapped)
	clear := body[:at]
	sealedLen, n := binary.Uvarint(body[at:])
	sealed := body[at+n:][:sealedLen]
	commitment := body[at+n+int(sealedLen):]

	if string(wrapped[:12]) != "\x0bhkdf-sha256" || wrapped[12] != 32 {
		t.Fatalf("wrapped key starts with %x", wrapped[:13])
	}
	info := specPAE("sealmq/root-wrap/v1", rootID, specPAE("sealmq/kek/v1", id))
	key, _ := specDerive(t, rootKey, wrapped[13:45], info)
	kek := specOpen(t, key, wrapped[45:], info)
	info = specPAE("sealmq/rings/v1", clear)
	key, want := specDerive(t, kek, salt, info)
	if !bytes.Equal(commitment, want) {
		t.Fatal("ring file: commitment differs")
	}
	keys := map[string][]byte{}
	plain := specOpen(t, key, sealed, info)
	if plain[0] != 3 {
		t.Fatalf("%d rings", plain[0])
	}
	plain = plain[1:]
	for kind := byte(1); kind <= 3; kind++ {
		if plain[0] != kind || binary.BigEndian.Uint16(plain[1:]) != 1 || plain[3] != kind {
			t.Fatalf("ring %d starts with %x", kind, plain[:4])
		}
		keys[string(plain[3:11])] = plain[19:51]
		plain = plain[51:]
	}
	if len(plain) != 0 {
		t.Fatal("bytes after the data keys")
	}
	return keys
}

// specFileKey checks a header and returns the file's key.
func specFileKey(t *testing.T, name, base string, mode, log2 byte) (key, body []byte) {
	file := specVector(t, name)
	if string(file[:8]) != string([]byte{'E', 'N', 'C', 'F', 1, mode, 1, log2}) {
		t.Fatalf("%s: header starts with %x", name, file[:8])
	}
	dataKey, ok := specDataKeys(t)[string(file[8:16])]
	if !ok || !bytes.Equal(file[16:32], []byte{2, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}) {
		t.Fatalf("%s: data key or store id %x", name, file[8:32])
	}
	key, commitment := specDerive(t, dataKey, file[32:64], specPAE("sealmq/file/v1", file[:64], []byte(base)))
	if !bytes.Equal(commitment, file[64:96]) || !bytes.Equal(file[96:128], make([]byte, 32)) {
		t.Fatalf("%s: commitment or reserved bytes differ", name)
	}
	return key, file[128:]
}

func specU64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

func TestSpecRecordAndJournal(t *testing.T) {
	key, body := specFileKey(t, "record", "NODE", 4, 0)
	if got := specOpen(t, key, body, specPAE("sealmq/record/v1")); string(got) != "a record" {
		t.Errorf("record: %q", got)
	}
	key, body = specFileKey(t, "journal", "000001.seg", 3, 15)
	if got := specOpen(t, key, body, []byte("place")); string(got) != "journal bytes" {
		t.Errorf("journal: %q", got)
	}
}

// The secret of this vector is the root key, only because it is there.
func TestSpecSubKey(t *testing.T) {
	salt := append([]byte{1, 2, 3}, make([]byte, 13)...)
	key, _ := specDerive(t, specVector(t, "root-key"), salt, specPAE("sealmq/subkey/v1", []byte("purpose")))
	if got := specOpen(t, key, specVector(t, "subkey"), []byte("place")); string(got) != "sub-key bytes" {
		t.Errorf("sub-key: %q", got)
	}
}

func TestSpecChunks(t *testing.T) {
	key, body := specFileKey(t, "chunk", "000007.sst", 1, 9)
	// 900 bytes: 512-128-28 = 356, 512-28 = 484, 60.
	var got []byte
	for i, size := range []int{356 + 28, 512, 60 + 28} {
		final := byte(0)
		if i == 2 {
			final = 1
		}
		got = append(got, specOpen(t, key, body[:size], specPAE("sealmq/chunk/v1", specU64(uint64(i)), []byte{final}))...)
		body = body[size:]
	}
	if len(body) != 0 || !bytes.Equal(got, specPattern(900)) {
		t.Errorf("%d bytes, %d left", len(got), len(body))
	}
}

func TestSpecFrames(t *testing.T) {
	key, body := specFileKey(t, "frame", "MANIFEST-000001", 2, 16)
	if !bytes.Equal(body[:4096-128], make([]byte, 4096-128)) {
		t.Error("the header's page is not zero behind the header")
	}
	body = body[4096-128:]
	var got []byte
	offset := uint64(3 * 4096)
	// Three syncs, after 20 bytes, after 50 bytes and after the final frame: marks 0, 1 and 0.
	for number, durable := range []uint64{offset + 56 + 66 + 36, offset + 56 + 66} {
		mark := specOpen(t, key, body[:4096], specPAE("sealmq/frame-mark/v1", []byte{byte(number)}))
		if !bytes.Equal(mark, append(specU64(durable), make([]byte, 4096-28-8)...)) {
			t.Errorf("mark %d: %x, want %d", number, mark[:8], durable)
		}
		body = body[4096:]
	}
	for _, want := range []struct{ length, kind uint32 }{{20, 0}, {30, 0}, {0, 1}} {
		if binary.BigEndian.Uint32(body) != want.length || binary.BigEndian.Uint32(body[4:]) != want.kind {
			t.Fatalf("frame at %d: header %x, want %v", offset, body[:8], want)
		}
		n := 8 + 28 + int(want.length)
		got = append(got, specOpen(t, key, body[8:n], specPAE("sealmq/frame/v1", specU64(offset), body[:8]))...)
		body, offset = body[n:], offset+uint64(n)
	}
	if len(body) != 0 || !bytes.Equal(got, specPattern(50)) {
		t.Errorf("%d bytes, %d left", len(got), len(body))
	}
}

func specPattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8*13 + i>>16)
	}
	return b
}
