"""Makes 300 commands at a time: python3 many.py HOST:PORT"""

import sys
from concurrent.futures import ThreadPoolExecutor

from raftclient import Client

with Client([sys.argv[1]]) as client, ThreadPoolExecutor(300) as threads:
    print(sum(answer["value"] for answer in threads.map(lambda _: client.post("/many", {"add": 5}), range(300))))
