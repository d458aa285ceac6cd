package sim

// Stats count what happened in a run.
type Stats struct {
	Servers        int
	Events         int // inputs that reached a core
	Steps          int // events of the schedule
	Drains         int
	Messages       int
	Dropped        int
	Elections      int // servers that were elected
	Campaigns      int // terms in which a server asked for votes
	Split          int // campaigns of several servers in which none was elected
	Leaders        int // terms in which the leader committed something
	Crashes        int
	Restarts       int
	Wipes          int
	Moves          int // of servers, to another address
	Changes        int // changes of the members that clients asked for
	Changed        int // of these, done
	Unchanged      int // of these, refused or given up
	Configurations int // committed
	Lost           int // writes that were lost at crashes
	Writes         int
	Truncations    int
	Commands       int   // commands that were committed
	Answered       int   // commands that were answered with a result
	Slowest        int64 // nanoseconds until the last of them was, at most
	Refused        int   // commands that were not applied, and reads that failed
	Unknown        int
	Reads          int
	Transfers      int // transfers that were done
	// Upgrades is the number of servers that were upgraded. The fields after it count in sessions:
	// sessions that were opened, commands that were applied, copies that got the result of the
	// first, and commands that were refused.
	Upgrades                                                 int
	Sessions, SessionCommands, SessionCopies, SessionRefused int
	Settled                                                  int64 // tenths of an election timeout from the last fault to the end
	Succeeded                                                int64 // the same, from then until a server of the highest priority led
	Faults                                                   [numFaults + numDiskFaults]int
	// Vacancies counts the crashes of a leader by the time until another one was elected, in tenths
	// of an election timeout. The last count also has all longer times.
	Vacancies [50]int

	Snapshots       int // taken
	SnapshotsFailed int // snapshots that were taken or received, but not stored
	Restored        int // state machines that were restored, at starts and after a snapshot was received
	Received        int
	Recovered       int // runs that begin with a survivor
	Exported        int // runs that begin with a snapshot
	Streams         int // opened
	Resumed         int // of these, not from the beginning of the snapshot
	Broken          int
	Spoiled         int

	LostEntries int // whose bytes a disk has lost
	Repaired    int // of these, stored again
	// RottenEntries are those that a real log has found lost, because a byte of it had changed.
	RottenEntries int
	Recovering    int // servers that were elected and had to repair their logs first

	Filled      int // disks that became full, as their servers say
	RefusedFull int // commands that were refused because of that
	Brims       int // disks that stayed full when the faults ended
	Worn        int // runs in which no quorum was left because of that: reserves were used up
	Verified    int // snapshots that were read before the one before went

	Backs   int // disks that went back
	Noticed int // of these, those whose server noticed it
	Beyond  int // runs in which that went beyond what is promised
	Excused int // runs that ended because of it, or because what all disks have lost was missing
	// MachineBacks are durable state machines that went back alone, and Refusals the starts that
	// were refused because the log had gone back alone.
	MachineBacks, Refusals int

	// Of servers with a real log
	WALs         int // runs
	Opened       int // logs
	CutOpening   int // of these, those during which the power failed
	Survived     int // writes that were there after a crash although they weren't reported
	Torn         int // writes to a file, at power failures
	FailedWrites int
	FailedSyncs  int
	Full         int // writes and openings that failed for want of room
	Corrupt      int // logs that were found damaged, and were replaced
}

// Add adds the counts of another run. It doesn't add Servers, Settled and Succeeded.
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
		{&s.Received, o.Received}, {&s.Recovered, o.Recovered}, {&s.Exported, o.Exported}, {&s.Streams, o.Streams}, {&s.Resumed, o.Resumed}, {&s.Broken, o.Broken}, {&s.Spoiled, o.Spoiled}, {&s.LostEntries, o.LostEntries}, {&s.Repaired, o.Repaired}, {&s.RottenEntries, o.RottenEntries}, {&s.Recovering, o.Recovering},
		{&s.Filled, o.Filled}, {&s.RefusedFull, o.RefusedFull}, {&s.Verified, o.Verified}, {&s.Brims, o.Brims}, {&s.Worn, o.Worn},
		{&s.Backs, o.Backs}, {&s.Noticed, o.Noticed}, {&s.Beyond, o.Beyond}, {&s.Excused, o.Excused},
		{&s.MachineBacks, o.MachineBacks}, {&s.Refusals, o.Refusals},
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
