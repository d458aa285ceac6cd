"""Increments a counter (examples/counter) exactly N times, by several clients with several threads.

    python3 increment.py 127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003 1000
"""

import sys
from concurrent.futures import ThreadPoolExecutor

from raftclient import Client

servers, count = sys.argv[1].split(","), int(sys.argv[2])
clients = [Client(servers[i:] + servers[:i], timeout=120) for i in range(len(servers))]
with ThreadPoolExecutor(4 * len(clients)) as threads:
    answers = threads.map(lambda i: clients[i % len(clients)].post("/counter"), range(count))
    values = sorted(answer["value"] for answer in answers)
for client in clients:
    client.close()
if values != list(range(values[0], values[0] + count)):
    sys.exit("not every increment was applied once")
print(f"{count} increments, from {values[0]} to {values[-1]}; repeated requests: {sum(c.repeated for c in clients)}")
