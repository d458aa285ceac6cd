// Stock uses a client library of npm, redis or ioredis, as a Go test tells it to. Each line that it
// reads is a call, {"op": "get", "args": ["key"]}, and each line that it writes the answer to one,
// {"result": "value"} or {"error": "text"}. It takes the library, the address of a server, the version of the
// protocol, and a word more if that is a server of Redis Cluster.
'use strict'
const readline = require('node:readline')
const [library, host, port, protocol, cluster] = process.argv.slice(2)

// Each library by the same functions.
const libraries = {
  async redis() {
    const { createClient, createCluster } = require('redis')
    const options = { socket: { host, port: +port, reconnectStrategy: 50 }, RESP: +protocol, name: 'node-redis' }
    const connect = async () => {
      const client = cluster ? createCluster({ rootNodes: [options] }) : createClient(options)
      client.on('error', () => {}) // it connects again by itself
      return client.connect()
    }
    const client = await connect()
    let watching
    return {
      set: (key, value) => client.set(key, value, { expiration: { type: 'EX', value: 3600 } }),
      get: key => client.get(key),
      pipeline: (key, n) => Promise.all(Array.from({ length: n }, () => client.incr(key))),
      async begin(key) {
        watching = await connect()
        await watching.watch(key)
        return watching.get(key)
      },
      async exec(key, value) {
        try {
          await watching.multi().set(key, value).exec()
          return true
        } catch (error) {
          if (error.constructor.name === 'WatchError') return false
          throw error
        } finally {
          watching.destroy()
        }
      },
      async hash(key, fields) {
        await client.hSet(key, fields)
        return { ...await client.hGetAll(key) }
      }
    }
  },
  async ioredis() {
    const Redis = require('ioredis')
    const options = { host, port: +port, retryStrategy: () => 50, connectionName: 'ioredis', lazyConnect: true }
    const connect = async () => {
      const client = cluster ? new Redis.Cluster([{ host, port: +port }], { lazyConnect: true }) : new (Redis.default ?? Redis)(options)
      client.on('error', () => {}) // it connects again by itself
      await client.connect()
      return client
    }
    const client = await connect()
    let watching
    return {
      set: (key, value) => client.set(key, value, 'EX', 3600),
      get: key => client.get(key),
      async pipeline(key, n) {
        const pipeline = client.pipeline()
        for (let i = 0; i < n; i++) pipeline.incr(key)
        return (await pipeline.exec()).map(([error, result]) => { if (error) throw error; return result })
      },
      async begin(key) {
        watching = await connect()
        await watching.watch(key)
        return watching.get(key)
      },
      async exec(key, value) {
        try {
          return await watching.multi().set(key, value).exec() !== null
        } finally {
          watching.disconnect()
        }
      },
      async hash(key, fields) {
        await client.hset(key, fields)
        return client.hgetall(key)
      }
    }
  }
}

async function main() {
  const client = await libraries[library]()
  console.log(JSON.stringify({ result: 'connected' }))
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { op, args } = JSON.parse(line)
    try {
      console.log(JSON.stringify({ result: await client[op](...args) }))
    } catch (error) {
      console.log(JSON.stringify({ error: String(error) }))
    }
  }
  process.exit(0)
}

main().catch(error => {
  console.log(JSON.stringify({ error: String(error) }))
  process.exit(1)
})
