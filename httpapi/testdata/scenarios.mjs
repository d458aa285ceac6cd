// Goes through the scenarios of clients_test.go: node scenarios.mjs NAME,HOST:PORT,MILLISECONDS,COMMANDS...

import { Client, Failure } from "../clients/node/raftclient.mjs";

for (const scenario of process.argv.slice(2)) {
  const [name, server, timeout, commands] = scenario.split(",");
  const client = new Client([server, server, server], { timeout: Number(timeout) });
  const outcomes = [name];
  for (let i = 0; i < Number(commands); i++) {
    try {
      outcomes.push((await client.post(`/${name}`, { add: 5 })).value);
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      outcomes.push(`${failure.name} ${failure.code} ${failure.status}`);
    }
  }
  console.log(outcomes.join(": "));
  await client.close();
}
