package boltstate

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/e17579a5/raft/examples/durable/state"
)

// These are the kinds of records in a copy. A bucket is its beginning, its keys and buckets in the order
// of bbolt, and its end.
const (
	bucketBegins = 1 // its name, and its sequence in 8 bytes, big endian
	keyHas       = 2 // the key and the value
	bucketEnds   = 3
)

// Capture implements state.Database. A read transaction shows the state at its beginning for as long
// as it is open, and the file grows by what is written meanwhile.
func (d *database) Capture() (state.Capture, error) {
	if d.tx != nil {
		return capture{d.tx, true}, nil
	}
	tx, err := d.db.Begin(false)
	if err != nil {
		return nil, err
	}
	return capture{tx, false}, nil
}

type capture struct {
	tx   *bbolt.Tx
	lent bool // it goes on afterwards
}

// Copy implements state.Capture.
func (c capture) Copy(to *state.CopyWriter) error {
	return c.tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		if bytes.Equal(name, ownBucket) {
			return nil
		}
		return copyBucket(to, name, b)
	})
}

// Close implements state.Capture.
func (c capture) Close() error {
	if c.lent {
		return nil
	}
	return c.tx.Rollback()
}

func copyBucket(to *state.CopyWriter, name []byte, b *bbolt.Bucket) error {
	if err := to.Record(bucketBegins, name, binary.BigEndian.AppendUint64(nil, b.Sequence())); err != nil {
		return err
	}
	err := b.ForEach(func(key, value []byte) error {
		if value == nil {
			return copyBucket(to, key, b.Bucket(key))
		}
		return to.Record(keyHas, key, value)
	})
	if err != nil {
		return err
	}
	return to.Record(bucketEnds, nil, nil)
}

// fillBytes is how many bytes are put into the database in one transaction, while it is filled. All of
// them are in memory until then.
const fillBytes = 4 << 20

// Fill implements state.Database. The next Save syncs all of it.
func (d *database) Fill(from *state.CopyReader) error {
	d.db.NoSync = true
	f := filling{database: d}
	err := f.fill(from)
	d.db.NoSync = false
	if err != nil {
		return fmt.Errorf("boltstate: %w", joined(err, d.rollback()))
	}
	return nil
}

func joined(err, other error) error {
	if other == nil {
		return err
	}
	return fmt.Errorf("%w, and %w", err, other)
}

// A filling is where the filling of a database has come to.
type filling struct {
	*database
	path  [][]byte // the names of the buckets around
	inner *bbolt.Bucket
	bytes int // since the transaction has begun
}

func (f *filling) fill(from *state.CopyReader) error {
	if err := f.begin(); err != nil {
		return err
	}
	for {
		kind, first, second, err := from.Next()
		if err != nil {
			return err
		}
		if kind == 0 && len(f.path) == 0 {
			return f.pause()
		}
		if err := f.record(kind, bytes.Clone(first), bytes.Clone(second)); err != nil {
			return err
		}
		if f.bytes += len(first) + len(second); f.bytes > fillBytes {
			if err := f.pause(); err != nil {
				return err
			}
			if err := f.resume(); err != nil {
				return err
			}
		}
	}
}

// record puts a record into the database.
func (f *filling) record(kind byte, first, second []byte) (err error) {
	switch {
	case kind == bucketBegins && len(second) == 8 && (len(f.path) > 0 || !bytes.Equal(first, ownBucket)):
		if f.inner == nil {
			f.inner, err = f.tx.CreateBucket(first)
		} else {
			f.inner, err = f.inner.CreateBucket(first)
		}
		if err != nil {
			return err
		}
		f.inner.FillPercent = 0.9 // keys come in order
		f.path = append(f.path, first)
		return f.inner.SetSequence(binary.BigEndian.Uint64(second))
	case kind == keyHas && f.inner != nil:
		return f.inner.Put(first, second)
	case kind == bucketEnds && f.inner != nil && len(first)+len(second) == 0:
		f.path = f.path[:len(f.path)-1]
		f.enter()
		return nil
	}
	return fmt.Errorf("%w: a record of the kind %d at a place where there is none", state.ErrCopy, kind)
}

// pause commits what is in the transaction.
func (f *filling) pause() error {
	tx := f.tx
	f.tx = nil
	return tx.Commit()
}

// resume begins another transaction at the same place.
func (f *filling) resume() error {
	f.bytes = 0
	if err := f.begin(); err != nil {
		return err
	}
	f.enter()
	return nil
}

// enter goes to the bucket that the path leads to.
func (f *filling) enter() {
	f.inner = nil
	for _, name := range f.path {
		if f.inner == nil {
			f.inner = f.tx.Bucket(name)
		} else {
			f.inner = f.inner.Bucket(name)
		}
	}
	if f.inner != nil {
		f.inner.FillPercent = 0.9
	}
}
