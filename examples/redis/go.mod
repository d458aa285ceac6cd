module github.com/e17579a5/raft/examples/redis

go 1.26.0

replace github.com/e17579a5/raft => ../..

require (
	github.com/e17579a5/raft v0.0.0-00010101000000-000000000000
	github.com/stretchr/testify v1.12.1
	pgregory.net/rapid v1.3.0
)

require go.yaml.in/yaml/v3 v3.0.5 // indirect
