"""Goes through the scenarios of clients_test.go: python3 scenarios.py NAME,HOST:PORT,MILLISECONDS,COMMANDS..."""

import sys

from raftclient import Client, Failure

for scenario in sys.argv[1:]:
    name, server, timeout, commands = scenario.split(",")
    client = Client([server] * 3, timeout=int(timeout) / 1000)
    outcomes = [name]
    for _ in range(int(commands)):
        try:
            outcomes.append(str(client.post("/" + name, {"add": 5})["value"]))
        except Failure as failure:
            outcomes.append(f"{type(failure).__name__} {failure.code} {failure.status}")
    print(*outcomes, sep=": ")
    client.close()
