package envelope

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/sealmq/sealmq/internal/codec"
)

func testEpoch(t *testing.T, number uint32, from time.Time, life time.Duration) EpochPublic {
	t.Helper()
	key, err := GenerateEpochKey(number, from, from.Add(life))
	if err != nil {
		t.Fatal(err)
	}
	return key.Public()
}

func TestKeyRecordRoundTrip(t *testing.T) {
	owner := identityFromSeed(t, "warehouse", 2)
	week := 7 * 24 * time.Hour
	k := &KeyRecord{MailboxID: [16]byte{7}, Name: testMailboxName, Version: 5, Previous: [32]byte{8},
		NotAfter: testNow.Add(MaxValidity), Policy: PolicySealed | PolicySigned,
		Epochs: []EpochPublic{testEpoch(t, 4, testNow, week), testEpoch(t, 9, testNow.Add(week), week)}}
	b, err := k.Sign(owner)
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseKeyRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := back.Verify(testNow, testMailboxName); err != nil {
		t.Error(err)
	}
	if back.MailboxID != k.MailboxID || back.Name != k.Name || back.Version != 5 || back.Previous != k.Previous ||
		!back.NotAfter.Equal(testNow.Add(MaxValidity).Truncate(time.Minute)) || back.Policy != k.Policy ||
		len(back.Epochs) != 2 || back.Epochs[1].ID() != k.Epochs[1].ID() || back.Owner().Key != owner.PublicKey() ||
		back.Owner().Subject != "warehouse" || back.Hash() != k.Hash() || !bytes.Equal(back.Bytes(), b) {
		t.Error("a record came back different")
	}
	if len(b) > MaxKeyRecordBytes {
		t.Errorf("%d bytes", len(b))
	}
}

func TestKeyRecordRules(t *testing.T) {
	owner := identityFromSeed(t, "warehouse", 2)
	epoch := testEpoch(t, 1, testNow, time.Hour)
	later := epoch
	later.Number = 2
	over, tooFar := testNow.Add(-ClockSkew-time.Minute), testNow.Add(MaxValidity+time.Hour)
	tests := map[string]struct {
		change func(*KeyRecord)
		want   error
	}{
		"fine":                           {func(*KeyRecord) {}, nil},
		"8 epochs":                       {func(k *KeyRecord) { k.Epochs = numbered(epoch, 8) }, nil},
		"9 epochs":                       {func(k *KeyRecord) { k.Epochs = numbered(epoch, 9) }, errAny},
		"no epoch":                       {func(k *KeyRecord) { k.Epochs = nil }, errAny},
		"epochs out of order":            {func(k *KeyRecord) { k.Epochs = []EpochPublic{later, epoch} }, errAny},
		"one number twice":               {func(k *KeyRecord) { k.Epochs = []EpochPublic{epoch, epoch} }, errAny},
		"unknown suite":                  {func(k *KeyRecord) { k.Epochs[0].Suite = 2 }, ErrUnsupported},
		"epoch 0":                        {func(k *KeyRecord) { k.Epochs[0].Number = 0 }, errAny},
		"epoch without time":             {func(k *KeyRecord) { k.Epochs[0].NotAfter = k.Epochs[0].NotBefore }, errAny},
		"short public key":               {func(k *KeyRecord) { k.Epochs[0].Key = k.Epochs[0].Key[1:] }, errAny},
		"version 0":                      {func(k *KeyRecord) { k.Version = 0 }, errAny},
		"version 1 with a previous":      {func(k *KeyRecord) { k.Previous[0] = 1 }, errAny},
		"version 2 without":              {func(k *KeyRecord) { k.Version = 2 }, errAny},
		"mailbox id zero":                {func(k *KeyRecord) { k.MailboxID = [16]byte{} }, errAny},
		"no name":                        {func(k *KeyRecord) { k.Name = "" }, ErrName},
		"unknown policy":                 {func(k *KeyRecord) { k.Policy = 8 }, ErrUnsupported},
		"over":                           {func(k *KeyRecord) { k.NotAfter = over }, ErrExpired},
		"more than the longest validity": {func(k *KeyRecord) { k.NotAfter = tooFar }, ErrNotYetValid},
		"no not-after":                   {func(k *KeyRecord) { k.NotAfter = time.Time{} }, errAny},
	}
	for what, tt := range tests {
		k := &KeyRecord{MailboxID: [16]byte{7}, Name: testMailboxName, Version: 1, NotAfter: testNow.Add(time.Hour),
			Epochs: []EpochPublic{epoch}}
		tt.change(k)
		_, err := k.Sign(owner)
		if err == nil {
			err = k.Verify(testNow, testMailboxName)
		}
		var typed *RecordError
		switch {
		case tt.want == nil && err != nil, tt.want != nil && !errors.As(err, &typed):
			t.Errorf("%s: %v", what, err)
		case tt.want != errAny && !errors.Is(err, tt.want):
			t.Errorf("%s: %v, want %v", what, err, tt.want)
		}
	}
}

var errAny = errors.New("any error")

func numbered(e EpochPublic, n int) (all []EpochPublic) {
	for i := range n {
		e.Number = uint32(i + 1)
		all = append(all, e)
	}
	return all
}

// The parser refuses by itself what Sign would not write.
func TestKeyRecordParserRefuses(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	good := p.record.Bytes()
	countAt := 64 + len(testMailboxName)
	epochAt := countAt + 1
	for what, change := range map[string]func(b []byte) []byte{
		"no epoch": func(b []byte) []byte {
			b[countAt] = 0
			return append(b[:epochAt:epochAt], b[epochAt+epochPublicBytes:]...)
		},
		"an epoch twice": func(b []byte) []byte {
			b[countAt] = 2
			e := b[epochAt : epochAt+epochPublicBytes]
			return bytes.Join([][]byte{b[:epochAt], e, b[epochAt:]}, nil)
		},
		"record version 0":   func(b []byte) []byte { b[26] = 0; return b },
		"no name":            func(b []byte) []byte { b[63] = 0; return append(b[:64:64], b[countAt:]...) },
		"zero public key":    func(b []byte) []byte { clear(b[epochAt+13 : epochAt+epochPublicBytes]); return b },
		"a longer statement": func(b []byte) []byte { b[epochAt+epochPublicBytes] = 0xff; return b },
	} {
		b := change(bytes.Clone(good))
		body := len(b) - signatureBytes
		b = append(b[:body:body], p.owner.sign(labelKeyRecord, b[:body])...)
		if _, err := ParseKeyRecord(b); !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrWeakKey) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A record signed by somebody else than the owner whose statement it carries.
func TestKeyRecordSignedByAnother(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	b := p.record.Bytes()
	body := len(b) - signatureBytes
	b = append(b[:body:body], p.sender.sign(labelKeyRecord, b[:body])...)
	k, err := ParseKeyRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, "signed by another", k.Verify(testNow, testMailboxName), ErrSignature)
	// A signature made for another purpose over the same bytes.
	b = append(b[:body:body], p.owner.sign(labelStatement, b[:body])...)
	if k, err = ParseKeyRecord(b); err != nil {
		t.Fatal(err)
	}
	wantError(t, "signed for another purpose", k.Verify(testNow, testMailboxName), ErrSignature)
}

// What was verified is what is sealed to: changing a field afterwards takes the verification away.
func TestChangedRecordCannotBeSealedTo(t *testing.T) {
	for what, change := range map[string]func(*KeyRecord){
		"epoch key": func(k *KeyRecord) { k.Epochs[0].Key[0] ^= 1 },
		"mailbox":   func(k *KeyRecord) { k.MailboxID[0] ^= 1 },
		"policy":    func(k *KeyRecord) { k.Policy = 0 },
		"not-after": func(k *KeyRecord) { k.NotAfter = k.NotAfter.Add(time.Hour) },
		"name":      func(k *KeyRecord) { k.Name = "" },
	} {
		p := newParties(t, testNow, PolicySealed|PolicySigned)
		if _, err := OpenSession(p.sender, p.record, 1, testNow); err != nil {
			t.Fatal(err)
		}
		change(p.record)
		_, err := OpenSession(p.sender, p.record, 1, testNow)
		wantError(t, what, err, ErrNotVerified)
	}
	if err := new(KeyRecord).Verify(testNow, ""); !errors.Is(err, ErrNotVerified) {
		t.Errorf("empty record: %v", err)
	}
}

func TestChoose(t *testing.T) {
	week := 7 * 24 * time.Hour
	k := &KeyRecord{NotAfter: testNow.Add(MaxValidity)}
	for i := range 3 {
		from := testNow.Add(time.Duration(i) * week)
		k.Epochs = append(k.Epochs, EpochPublic{Number: uint32(10 + i), NotBefore: from, NotAfter: from.Add(week)})
	}
	for _, tt := range []struct {
		after time.Duration
		want  uint32
		err   error
	}{
		{-ClockSkew - time.Second, 0, ErrNoEpoch},
		{-ClockSkew, 10, nil},
		{0, 10, nil},
		{week - time.Second, 10, nil},
		{week, 11, nil},
		{3*week + time.Hour, 12, nil}, // long over, but not replaced
		{MaxValidity + ClockSkew, 12, nil},
		{MaxValidity + ClockSkew + time.Second, 0, ErrExpired},
	} {
		got, err := k.Choose(testNow.Add(tt.after))
		if got.Number != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("after %v: epoch %d, %v, want %d, %v", tt.after, got.Number, err, tt.want, tt.err)
		}
	}
}

func TestFollows(t *testing.T) {
	p := newParties(t, testNow, PolicySealed)
	next := func(before *KeyRecord, owner *Identity, change func(*KeyRecord)) *KeyRecord {
		k := &KeyRecord{MailboxID: before.MailboxID, Name: before.Name, Version: before.Version + 1, Previous: before.Hash(),
			NotAfter: before.NotAfter, Epochs: before.Epochs}
		change(k)
		if _, err := k.Sign(owner); err != nil {
			t.Fatal(err)
		}
		return k
	}
	same := func(*KeyRecord) {}
	second := next(p.record, p.owner, same)
	third := next(second, p.owner, same)
	renamedOwner, err := newIdentity("warehouse2", p.owner.secret().key.Seed())
	if err != nil {
		t.Fatal(err)
	}
	fork := next(p.record, p.owner, func(k *KeyRecord) { k.Policy = PolicySigned })
	moved := next(p.record, p.owner, func(k *KeyRecord) { k.MailboxID[0] ^= 1 })
	for what, tt := range map[string]struct {
		k, before *KeyRecord
		want      error
	}{
		"the next":             {second, p.record, nil},
		"itself":               {second, second, nil},
		"two later":            {third, p.record, nil},
		"older":                {p.record, second, ErrRollback},
		"another of a version": {fork, second, ErrRollback},
		"next, other hash":     {next(p.record, p.owner, func(k *KeyRecord) { k.Previous[0] ^= 1 }), p.record, ErrRollback},
		"another owner":        {next(p.record, p.sender, same), p.record, ErrIdentityMismatch},
		"owner renamed":        {next(p.record, renamedOwner, same), p.record, ErrIdentityMismatch},
		"another mailbox id":   {moved, p.record, ErrWrongMailbox},
		"another name":         {next(p.record, p.owner, func(k *KeyRecord) { k.Name = "x" }), p.record, ErrWrongName},
		"nothing":              {new(KeyRecord), p.record, ErrNotVerified},
	} {
		if err := tt.k.Follows(tt.before); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", what, err, tt.want)
		}
	}
}

func TestHashOfNothingPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a record without bytes has a hash")
		}
	}()
	new(KeyRecord).Hash()
}

func TestMinutes(t *testing.T) {
	for _, tt := range []struct {
		t    time.Time
		want uint32
	}{
		{time.Time{}, 0}, {time.Unix(-1, 0), 0}, {time.Unix(59, 999), 0}, {time.Unix(60, 0), 1},
		{time.Unix(1<<40, 0), 1<<32 - 1}, {fromMinutes(1<<32 - 1), 1<<32 - 1},
	} {
		if got := minutes(tt.t); got != tt.want {
			t.Errorf("minutes(%v) = %d, want %d", tt.t, got, tt.want)
		}
	}
}

func TestEpochKeyIDCoversEveryField(t *testing.T) {
	e := testEpoch(t, 1, testNow, time.Hour)
	id := e.ID()
	for what, change := range map[string]func(*EpochPublic){
		"number":     func(e *EpochPublic) { e.Number++ },
		"suite":      func(e *EpochPublic) { e.Suite++ },
		"not-before": func(e *EpochPublic) { e.NotBefore = e.NotBefore.Add(time.Minute) },
		"not-after":  func(e *EpochPublic) { e.NotAfter = e.NotAfter.Add(time.Minute) },
		"key":        func(e *EpochPublic) { e.Key = bytes.Clone(e.Key); e.Key[0] ^= 1 },
	} {
		c := e
		change(&c)
		if c.ID() == id {
			t.Errorf("%s: the same key id", what)
		}
	}
	r := codec.NewReader(e.append(nil))
	if back := readEpochPublic(&r); r.Done() != nil || back.ID() != id {
		t.Error("an epoch came back different")
	}
}
