package process_test

import (
	"testing"

	"github.com/e17579a5/raft/internal/process"
)

// programs are what the tests run in processes.
var programs = map[string]func(){}

func TestMain(m *testing.M) { process.Main(m, programs) }
