package sim

// Stats count what happened in a run.
type Stats struct {
	Servers        int
	Events         int // inputs that reached a core
	Steps          int // events of the schedule
	Drains         int
	Messages       int
	Dropped        int
	Elections      int // leaders
	Campaigns      int // terms in which votes were asked for
	Split          int // of them, by several servers, and none was elected
	Leaders        int // that committed a command
	Crashes        int
	Restarts       int
	Wipes          int
	Moves          int // to another address
	Changes        int // of the members that were asked for
	Changed        int // of them, done
	Unchanged      int // of them, refused or given up
	Configurations int // committed
	Lost           int // writes, at crashes
	Writes         int
	Truncations    int
	Commands       int // committed
	Answered       int // with a result
	Refused        int // not applied, or not read
	Unknown        int
	Reads          int
	Transfers      int // done
	// In sessions: those that were opened, commands applied, copies answered with the result of the first, and refused.
	Upgrades                                                 int
	Sessions, SessionCommands, SessionCopies, SessionRefused int
	Settled                                                  int64 // tenths of an election timeout until progress was made after the last fault
	Succeeded                                                int64 // the same, from then on until a server of the highest priority led
	Faults                                                   [numFaults + numDiskFaults]int
	// Vacancies are the crashes of a leader by the tenths of an election timeout until another was elected; the last count
	// is of those that took longer.
	Vacancies [50]int

	Snapshots       int // taken
	SnapshotsFailed int // taken or received, and not stored
	Restored        int // state machines, at starts and after a snapshot was received
	Received        int
	Recovered       int // runs that begin with a survivor
	Exported        int // runs that begin with a snapshot
	Streams         int // opened
	Resumed         int // of them, not from the beginning
	Broken          int
	Spoiled         int

	// Of servers with a real log.
	WALs         int // runs
	Opened       int // logs
	CutOpening   int // of them, while the power failed
	Survived     int // writes, without having been reported
	Torn         int // writes to a file, at power failures
	FailedWrites int
	FailedSyncs  int
	Full         int // writes and openings that failed for want of room
	Corrupt      int // logs that were found damaged, and replaced
}

// Add adds another run's counts.
func (s *Stats) Add(o *Stats) {
	pairs := [...]struct {
		to   *int
		from int
	}{
		{&s.Events, o.Events}, {&s.Steps, o.Steps}, {&s.Drains, o.Drains},
		{&s.Messages, o.Messages}, {&s.Dropped, o.Dropped}, {&s.Elections, o.Elections}, {&s.Campaigns, o.Campaigns}, {&s.Split, o.Split},
		{&s.Leaders, o.Leaders}, {&s.Crashes, o.Crashes}, {&s.Restarts, o.Restarts},
		{&s.Moves, o.Moves}, {&s.Changes, o.Changes}, {&s.Changed, o.Changed}, {&s.Unchanged, o.Unchanged},
		{&s.Configurations, o.Configurations}, {&s.Wipes, o.Wipes}, {&s.Lost, o.Lost}, {&s.Writes, o.Writes},
		{&s.Truncations, o.Truncations}, {&s.Commands, o.Commands}, {&s.Answered, o.Answered},
		{&s.Refused, o.Refused}, {&s.Unknown, o.Unknown}, {&s.Reads, o.Reads}, {&s.Transfers, o.Transfers},
		{&s.Upgrades, o.Upgrades}, {&s.Sessions, o.Sessions}, {&s.SessionCommands, o.SessionCommands}, {&s.SessionCopies, o.SessionCopies},
		{&s.SessionRefused, o.SessionRefused},
		{&s.Snapshots, o.Snapshots}, {&s.SnapshotsFailed, o.SnapshotsFailed}, {&s.Restored, o.Restored},
		{&s.Received, o.Received}, {&s.Recovered, o.Recovered}, {&s.Exported, o.Exported}, {&s.Streams, o.Streams}, {&s.Resumed, o.Resumed}, {&s.Broken, o.Broken}, {&s.Spoiled, o.Spoiled},
		{&s.WALs, o.WALs}, {&s.Opened, o.Opened}, {&s.CutOpening, o.CutOpening}, {&s.Survived, o.Survived}, {&s.Torn, o.Torn},
		{&s.FailedWrites, o.FailedWrites}, {&s.FailedSyncs, o.FailedSyncs}, {&s.Full, o.Full}, {&s.Corrupt, o.Corrupt},
	}
	for _, p := range pairs {
		*p.to += p.from
	}
	for i := range s.Faults {
		s.Faults[i] += o.Faults[i]
	}
	for i := range s.Vacancies {
		s.Vacancies[i] += o.Vacancies[i]
	}
}
