// Increments a counter (examples/counter) exactly N times, by several clients with several requests
// at a time.
//
//   node increment.mjs 127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003 1000

import { Client } from "./raftclient.mjs";

const servers = process.argv[2].split(",");
const count = Number(process.argv[3]);
const clients = servers.map((_, i) => new Client([...servers.slice(i), ...servers.slice(0, i)], { timeout: 120_000 }));
const values = [];
let begun = 0;
const work = async (client) => {
  while (begun++ < count) values.push((await client.post("/counter")).value);
};
await Promise.all(clients.flatMap((client) => Array.from({ length: 4 }, () => work(client))));
await Promise.all(clients.map((client) => client.close()));
values.sort((a, b) => a - b);
if (values.length !== count || values.some((value, i) => value !== values[0] + i)) throw new Error("not every increment was applied once");
const repeated = clients.reduce((sum, client) => sum + client.repeated, 0);
console.log(`${count} increments, from ${values[0]} to ${values.at(-1)}; repeated requests: ${repeated}`);
