"use strict";

// The worker loads the simulator, which is compiled to WebAssembly, and hands it one call after the
// other: {id, name, arguments} comes in, {id, value} or {id, error} goes out. A run that takes long
// doesn't stop the page, and the page can end it with the worker.

importScripts("wasm_exec.js");

const loaded = load();

async function load() {
  const response = await fetch("replay.wasm.gz");
  if (!response.ok) throw new Error(await response.text() || `the simulator can't be loaded: ${response.status} ${response.statusText}`);
  let bytes = await response.arrayBuffer();
  const head = new Uint8Array(bytes, 0, Math.min(bytes.byteLength, 2));
  if (head[0] === 0x1f && head[1] === 0x8b) { // unless the server has said that it is compressed: then it comes unpacked
    bytes = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }
  const go = new Go();
  const {instance} = await WebAssembly.instantiate(bytes, go.importObject);
  go.run(instance);
  if (!self.raftReplay) throw new Error("the simulator has ended at once");
}

self.onmessage = async e => {
  const {id, name, args} = e.data;
  try {
    await loaded;
    if (name === "load") return postMessage({id, value: null});
    const answer = JSON.parse(self.raftReplay[name](...args));
    postMessage(answer.error ? {id, error: answer.error} : {id, value: answer.value});
  } catch (error) {
    postMessage({id, error: String(error.message || error)});
  }
};
