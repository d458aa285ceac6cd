package raft_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/e17579a5/raft"
	"github.com/e17579a5/raft/memory"
	"github.com/e17579a5/raft/wire"
)

// A cabinet counts how often its storage and its transport are closed.
type cabinet struct {
	raft.Storage
	raft.Transport
	loadFails, startFails, closeFails       error
	storageCloses, transportCloses, started int
}

type cabinetStorage struct{ *cabinet }

func (s cabinetStorage) Load() (raft.Saved, error) {
	if s.loadFails != nil {
		return raft.Saved{}, s.loadFails
	}
	return s.Storage.Load()
}

func (s cabinetStorage) Write(w raft.Write) error { return s.Storage.Write(w) }
func (s cabinetStorage) Entries(after, last raft.Index, maxBytes int) ([]raft.Entry, error) {
	return s.Storage.Entries(after, last, maxBytes)
}
func (s cabinetStorage) CreateSnapshot(meta raft.SnapshotMeta) (raft.SnapshotWriter, error) {
	return s.Storage.CreateSnapshot(meta)
}
func (s cabinetStorage) OpenSnapshot() (raft.SnapshotMeta, io.ReadCloser, error) {
	return s.Storage.OpenSnapshot()
}
func (s cabinetStorage) Close() error {
	s.storageCloses++
	return errors.Join(s.closeFails, s.Storage.Close())
}

type cabinetTransport struct{ *cabinet }

func (s cabinetTransport) Start(self raft.Server, h raft.Handler) error {
	s.started++
	if s.startFails != nil {
		return s.startFails
	}
	return s.Transport.Start(self, h)
}
func (s cabinetTransport) SetServers(servers []raft.Server) { s.Transport.SetServers(servers) }
func (s cabinetTransport) Send(m wire.Message)              { s.Transport.Send(m) }
func (s cabinetTransport) OpenStream(ctx context.Context, to raft.ServerID) (io.WriteCloser, error) {
	return s.Transport.OpenStream(ctx, to)
}
func (s cabinetTransport) Close() error {
	s.transportCloses++
	return s.Transport.Close()
}

// open returns a config that works, with everything from the cabinet.
func (s *cabinet) open() raft.Config {
	s.Storage, s.Transport = memory.NewStorage(), memory.NewNetwork(memory.Options{}).Join("a")
	return raft.Config{
		ID: "a", Machine: &journal{}, Storage: cabinetStorage{s}, Transport: cabinetTransport{s},
		Bootstrap: []raft.Server{{ID: "a", Address: "here"}}, Logger: slog.New(slog.DiscardHandler),
	}
}

func TestStartThatFailsClosesEverything(t *testing.T) {
	broken := errors.New("broken")
	cases := map[string]struct {
		spoil func(*cabinet, *raft.Config)
		is    error
		says  string
	}{
		"load":          {func(s *cabinet, _ *raft.Config) { s.loadFails = broken }, broken, "load"},
		"corrupt":       {func(s *cabinet, _ *raft.Config) { s.loadFails = raft.ErrCorrupt }, raft.ErrCorrupt, "load"},
		"transport":     {func(s *cabinet, _ *raft.Config) { s.startFails = broken }, broken, "transport"},
		"no ID":         {func(_ *cabinet, c *raft.Config) { c.ID = "" }, raft.ErrConfig, "server ID"},
		"long ID":       {func(_ *cabinet, c *raft.Config) { c.ID = raft.ServerID(strings.Repeat("x", 256)) }, raft.ErrConfig, "server ID"},
		"no machine":    {func(_ *cabinet, c *raft.Config) { c.Machine = nil }, raft.ErrConfig, "Machine"},
		"not in list":   {func(_ *cabinet, c *raft.Config) { c.Bootstrap[0].ID = "b" }, raft.ErrConfig, "Bootstrap"},
		"negative":      {func(_ *cabinet, c *raft.Config) { c.MaxCommandBytes = -1 }, raft.ErrConfig, "MaxCommandBytes"},
		"core's limit":  {func(_ *cabinet, c *raft.Config) { c.MaxPending = -1 }, raft.ErrConfig, "MaxPending"},
		"huge command":  {func(_ *cabinet, c *raft.Config) { c.MaxCommandBytes = wire.MaxCommandSize + 1 }, raft.ErrConfig, "MaxCommandBytes"},
		"short timeout": {func(_ *cabinet, c *raft.Config) { c.ElectionTimeout = time.Millisecond }, raft.ErrConfig, "ElectionTimeout"},
		"other's storage": {func(s *cabinet, _ *raft.Config) {
			_ = s.Storage.Write(raft.Write{State: raft.DurableState{Server: "x", Incarnation: 1}})
		}, raft.ErrConfig, `"x"`},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) {
			s := &cabinet{}
			config := s.open()
			test.spoil(s, &config)
			node, err := raft.Start(config)
			require.Nil(t, node)
			require.ErrorIs(t, err, test.is)
			require.ErrorContains(t, err, test.says)
			require.Equal(t, []int{1, 1}, []int{s.storageCloses, s.transportCloses})
		})
	}
	t.Run("without storage and transport", func(t *testing.T) {
		_, err := raft.Start(raft.Config{ID: "a", Machine: &journal{}})
		require.ErrorIs(t, err, raft.ErrConfig)
		s := &cabinet{}
		config := s.open()
		config.Transport = nil
		_, err = raft.Start(config)
		require.ErrorIs(t, err, raft.ErrConfig)
		require.Equal(t, 1, s.storageCloses)
	})
}
