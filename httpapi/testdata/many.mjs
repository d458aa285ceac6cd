// Makes 300 commands at a time: node many.mjs HOST:PORT

import { Client } from "../clients/node/raftclient.mjs";

const client = new Client([process.argv[2]]);
const answers = await Promise.all(Array.from({ length: 300 }, () => client.post("/many", { add: 5 })));
console.log(answers.reduce((sum, answer) => sum + answer.value, 0));
await client.close();
