package sim

// Stats count what happened in a run.
type Stats struct {
	Servers     int
	Events      int // inputs that reached a core
	Steps       int // events of the schedule
	Drains      int
	Messages    int
	Dropped     int
	Elections   int // leaders
	Leaders     int // that committed a command
	Crashes     int
	Restarts    int
	Wipes       int
	Lost        int // writes, at crashes
	Writes      int
	Truncations int
	Commands    int // committed
	Answered    int // with a result
	Refused     int // not applied, or not read
	Unknown     int
	Reads       int
	Settled     int64 // tenths of an election timeout until progress was made after the last fault
	Faults      [numFaults]int
}

// Add adds another run's counts.
func (s *Stats) Add(o *Stats) {
	pairs := [...]struct {
		to   *int
		from int
	}{
		{&s.Events, o.Events}, {&s.Steps, o.Steps}, {&s.Drains, o.Drains},
		{&s.Messages, o.Messages}, {&s.Dropped, o.Dropped}, {&s.Elections, o.Elections},
		{&s.Leaders, o.Leaders}, {&s.Crashes, o.Crashes}, {&s.Restarts, o.Restarts},
		{&s.Wipes, o.Wipes}, {&s.Lost, o.Lost}, {&s.Writes, o.Writes},
		{&s.Truncations, o.Truncations}, {&s.Commands, o.Commands}, {&s.Answered, o.Answered},
		{&s.Refused, o.Refused}, {&s.Unknown, o.Unknown}, {&s.Reads, o.Reads},
	}
	for _, p := range pairs {
		*p.to += p.from
	}
	for i := range s.Faults {
		s.Faults[i] += o.Faults[i]
	}
}
