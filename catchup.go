package raft

// catchUp is how servers catch up (§4.2.1): in rounds, each of which ends when all of them hold what the leader's
// log held when it began. They have caught up when a round took less than an election timeout.
type catchUp struct {
	since  Index // the configuration to which it belongs
	goal   Index // where the round ends
	rounds int   // that were begun
	slow   bool  // the round takes longer than an election timeout
	stalls int   // how many election timeouts in a row brought nothing
	seen   Index // what the servers held together when that was looked at
}

// A change is given up after so many rounds, as the thesis proposes, or when the servers have got nothing for so many
// election timeouts.
const maxCatchUpRounds, maxCatchUpStalls = 10, 10

// laggards returns the peers that are to be voters and aren't. A server that isn't among the peers is this one.
func (c *Core) laggards(l *leader, configuration *Configuration) []*progress {
	var behind []*progress
	for i := range configuration.Next {
		m := &configuration.Next[i]
		if m.Role == Voter && !configuration.counts(m.ID, m.Incarnation) {
			if p := l.progressOf(m); p != nil {
				behind = append(behind, p)
			}
		}
	}
	return behind
}

// driveCatchUp looks how far the servers have caught up, and takes the next step when they have.
func (c *Core) driveCatchUp(l *leader, placed *placedConfiguration) {
	configuration := placed.configuration
	laggards := c.laggards(l, configuration)
	u := &l.catchUp
	if u.since != placed.index {
		*u = catchUp{since: placed.index, goal: c.log.last, rounds: 1}
		c.arm(changeDeadline, c.config.ElectionTimeout)
	}
	for _, p := range laggards {
		if p.replaced {
			c.giveUp(configuration, RefusedOtherDisk, p.id)
			return
		}
	}
	for _, p := range laggards {
		if p.match < u.goal {
			return
		}
	}
	if u.slow && len(laggards) > 0 {
		if u.rounds++; u.rounds > maxCatchUpRounds {
			c.giveUp(configuration, RefusedNotCaughtUp, laggards[0].id)
			return
		}
		u.goal, u.slow, u.stalls = c.log.last, false, 0
		c.arm(changeDeadline, c.config.ElectionTimeout)
		return
	}
	if c.reachable(l, configuration.Next) {
		c.disarm(changeDeadline)
		c.takeStep(configuration, configuration)
	}
}

// slowest returns the voter to be that has answered least lately.
func (c *Core) slowest(l *leader, configuration *Configuration) ServerID {
	slowest := ServerID("")
	least := uint64(0)
	for i := range configuration.Next {
		m := &configuration.Next[i]
		if round := c.answered(l, m); m.Role == Voter && (slowest == "" || round < least) {
			slowest, least = m.ID, round
		}
	}
	return slowest
}

// giveUp ends a change whose servers don't catch up: those that were joining go again.
func (c *Core) giveUp(configuration *Configuration, why Refusal, about ServerID) {
	step := *configuration
	step.Next, step.Refusal, step.About = nil, why, about
	if step.Begun {
		step.Refusal = RefusedHalfway
	}
	step.Members = withoutJoining(step.Members)
	c.disarm(changeDeadline)
	c.appendConfiguration(&step)
}
