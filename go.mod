module github.com/e17579a5/raft

go 1.26
