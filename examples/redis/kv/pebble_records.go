package kv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/cockroachdb/pebble/v2"
)

// The prefixes of the database's keys. None is the one of package pebblestate.
const (
	metaKey      = "m"
	objectPrefix = "o"
	queuePrefix  = "q"
)

// after returns the first key behind all that have a prefix of one byte.
func after(prefix string) []byte { return []byte{prefix[0] + 1} }

func appendObjectKey(b []byte, position uint64, key string) []byte {
	return append(binary.BigEndian.AppendUint64(append(b, objectPrefix...), position), key...)
}

func appendQueueKey(b []byte, at int64, key string) []byte {
	return append(binary.BigEndian.AppendUint64(append(b, queuePrefix...), uint64(at)), key...)
}

// split returns the number and the name in a key of the database.
func split(key []byte) (number uint64, name string, err error) {
	if len(key) < 9 {
		return 0, "", fmt.Errorf("the database has a key of %d bytes: %q", len(key), key)
	}
	return binary.BigEndian.Uint64(key[1:9]), string(key[9:]), nil
}

func appendMeta(b []byte, meta Meta, count counts) []byte {
	for _, n := range []uint64{uint64(meta.Now), meta.Version, uint64(count.keys), uint64(count.expiring)} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// readMeta reads what appendMeta has written; zeros from an empty database.
func readMeta(from pebble.Reader) (meta Meta, count counts, err error) {
	value, closer, err := from.Get([]byte(metaKey))
	if errors.Is(err, pebble.ErrNotFound) {
		return Meta{}, counts{}, nil
	}
	if err != nil {
		return Meta{}, counts{}, err
	}
	in := &reader{r: bytes.NewReader(value)}
	meta = Meta{Now: int64(in.number()), Version: in.number()}
	count = counts{int(in.number()), int(in.number())}
	return meta, count, errors.Join(in.err, closer.Close())
}

// each calls f with the records of a prefix, from one on, until it returns false or an error.
func each(reader pebble.Reader, from []byte, prefix string, f func(key, value []byte) (bool, error)) (err error) {
	all, err := reader.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: after(prefix)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, all.Close()) }()
	for valid := all.First(); valid; valid = all.Next() {
		value, err := all.ValueAndErr()
		if err != nil {
			return err
		}
		if more, err := f(all.Key(), value); err != nil || !more {
			return err
		}
	}
	return all.Error()
}

// eachObject yields the keys of a database from a position on.
func eachObject(reader pebble.Reader, from uint64, yield func(string, *Object) bool) error {
	return each(reader, appendObjectKey(nil, from, ""), objectPrefix, func(key, value []byte) (bool, error) {
		_, name, err := split(key)
		if err != nil {
			return false, err
		}
		o, err := decodeObject(value)
		if err != nil {
			return false, fmt.Errorf("key %.100q: %w", name, err)
		}
		return yield(name, o), nil
	})
}

// firstDue returns the first key of the queue from one on.
func firstDue(reader pebble.Reader, from []byte) (first due, err error) {
	err = each(reader, from, queuePrefix, func(key, _ []byte) (bool, error) {
		at, name, err := split(key)
		first = due{name, int64(at)}
		return false, err
	})
	return first, err
}

// fillBytes is how many bytes are put into the database in one batch, while it is filled.
const fillBytes = 1 << 20

// Restore implements Keyspace. It fills a new database and reads that back. The old one counts until
// the next Save; if Restore fails, it is the only one, whatever was restored and not saved before.
func (p *Pebble) Restore(meta Meta, all func(put func(string, *Object)) error) error {
	err := p.machine.RestoreBy(func(db *pebble.DB) error {
		f := &filling{db: db, batch: db.NewBatch()}
		err := all(f.put)
		if err := errors.Join(err, f.end(meta)); err != nil {
			return err
		}
		return f.check()
	})
	return errors.Join(err, p.load(p.machine.Latest()))
}

// A filling puts keys into an empty database.
type filling struct {
	db     *pebble.DB
	batch  *pebble.Batch
	value  bytes.Buffer
	last   []byte // the key of the database that came last
	count  counts
	filled content
	err    error
}

// A content is the number of records, and a checksum that depends on their order.
type content struct {
	records int
	sum     uint32
}

func (c *content) add(key, value []byte) {
	c.records++
	c.sum = crc32.Update(c.sum, castagnoli, binary.AppendUvarint(nil, uint64(len(key))))
	c.sum = crc32.Update(crc32.Update(c.sum, castagnoli, key), castagnoli, value)
}

// put puts a key into the database. They come in the order of SCAN, as they are in snapshots.
func (f *filling) put(key string, o *Object) {
	if f.err != nil {
		return
	}
	is := appendObjectKey(nil, Position(key), key)
	if bytes.Compare(is, f.last) <= 0 {
		f.err = fmt.Errorf("kv: restore: key %.100q is there twice, or not in its place", key)
		return
	}
	f.last = is
	f.value.Reset()
	encodeObject(&f.value, o)
	f.filled.add(is, f.value.Bytes())
	f.count.keys++
	f.err = f.batch.Set(is, f.value.Bytes(), nil)
	if o.Expires != 0 && f.err == nil {
		f.count.expiring++
		f.err = f.batch.Set(appendQueueKey(nil, o.Expires, key), nil, nil)
	}
	if f.batch.Len() > fillBytes && f.err == nil {
		f.err = f.batch.Commit(pebble.NoSync)
		f.batch.Reset()
	}
}

// end writes what is left.
func (f *filling) end(meta Meta) error {
	if f.err == nil {
		f.err = f.batch.Set([]byte(metaKey), appendMeta(nil, meta, f.count), nil)
	}
	if f.err == nil {
		f.err = f.batch.Commit(pebble.NoSync)
	}
	return errors.Join(f.err, f.batch.Close())
}

// check reads back what was filled.
func (f *filling) check() error {
	var back content
	err := each(f.db, []byte(objectPrefix), objectPrefix, func(key, value []byte) (bool, error) {
		back.add(key, value)
		return true, nil
	})
	if err == nil && back != f.filled {
		err = fmt.Errorf("kv: restore: the database has other content than it was filled with: %d keys, not %d", back.records, f.filled.records)
	}
	if err != nil {
		return err
	}
	queued := 0
	err = each(f.db, []byte(queuePrefix), queuePrefix, func([]byte, []byte) (bool, error) {
		queued++
		return true, nil
	})
	if err == nil && queued != f.count.expiring {
		err = fmt.Errorf("kv: restore: the database has %d keys that expire, not %d", queued, f.count.expiring)
	}
	return err
}
