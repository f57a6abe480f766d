// The walkthrough with NATS' JavaScript client: node walkthrough.js URL. It ends with
// an error where something is not as it has to be.
import assert from "node:assert/strict";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { Kvm } from "@nats-io/kv";
import { connect } from "@nats-io/transport-node";

const nc = await connect({ servers: process.argv[2] });
const kvm = new Kvm(nc);
const kv = await kvm.create("js", { history: 5, description: "from JavaScript" });

assert.equal(await kv.put("Key1", "Value1"), 1);
let e = await kv.get("Key1");
assert.equal(e.string(), "Value1");
assert.equal(e.revision, 1);
assert.equal(e.operation, "PUT");
assert.equal(await kv.get("none"), null);

assert.equal(await kv.update("Key1", "Value2", 1), 2);
await assert.rejects(kv.update("Key1", "Value3", 1), /wrong last sequence: 2/);
assert.equal(await kv.create("lock", "me"), 3);
await assert.rejects(kv.create("lock", "you"), /wrong last sequence: 3/);
assert.equal((await kv.get("Key1", { revision: 1 })).string(), "Value1");
assert.equal(await kv.put("empty", ""), 4);
assert.equal((await kv.get("empty")).string(), "");

// A watch begins with what there is, and goes on.
const watch = await kv.watch();
const seen = [];
const watching = (async () => {
  for await (const e of watch) {
    seen.push(`${e.operation} ${e.key} ${e.revision}`);
    if (e.revision === 7) break;
  }
})();
await kv.delete("Key1"); // 5
assert.equal((await kv.get("Key1")).operation, "DEL");
assert.equal(await kv.create("Key1", "again"), 6);
await kv.purge("lock"); // 7
await watching;
assert.equal(seen.at(-1), "PURGE lock 7");
assert.ok(seen.includes("PUT Key1 6"));

const history = [];
for await (const e of await kv.history({ key: "Key1" })) history.push(`${e.operation} ${e.revision}`);
assert.deepEqual(history, ["PUT 1", "PUT 2", "DEL 5", "PUT 6"]);

const keys = [];
for await (const k of await kv.keys()) keys.push(k);
assert.deepEqual(keys.sort(), ["Key1", "empty"]);
for await (const _ of await (await kvm.create("none")).keys()) assert.fail("a key in an empty bucket");

const status = await kv.status();
assert.equal(status.history, 5);
assert.equal(status.description, "from JavaScript");
assert.equal(status.bucket, "js");

const names = [];
for await (const st of kvm.list()) names.push(st.bucket);
assert.deepEqual(names.sort(), ["js", "none"]);

// The bucket as a stream: a pull consumer, whose messages are the revisions.
const jsm = await jetstreamManager(nc);
const js = jetstream(nc);
const { name } = await jsm.consumers.add("KV_js", { ack_policy: "none" });
const consumer = await js.consumers.get("KV_js", name);
const revisions = [];
for (let left = 1; left > 0; left = revisions.at(-1).left) {
  const m = await consumer.next();
  revisions.push({ subject: m.subject, sequence: m.seq, operation: m.headers?.get("KV-Operation"), left: m.info.pending });
}
assert.deepEqual(revisions.map((r) => r.sequence), [1, 2, 4, 5, 6, 7]);
assert.deepEqual(revisions.at(-1), { subject: "$KV.js.lock", sequence: 7, operation: "PURGE", left: 0 });
assert.equal(await consumer.next({ expires: 1000 }), null);

// An ordered consumer, and one whose messages are acknowledged: the one that is refused comes again.
const ordered = [];
for await (const m of await (await js.consumers.get("KV_js")).fetch({ max_messages: 6 })) ordered.push(m.seq);
assert.deepEqual(ordered, [1, 2, 4, 5, 6, 7]);
await jsm.consumers.add("KV_js", { name: "worker", ack_policy: "explicit", filter_subject: "$KV.js.Key1" });
const worked = [];
for await (const m of await (await js.consumers.get("KV_js", "worker")).consume()) {
  worked.push(`${m.seq}.${m.info.deliveryCount}`);
  m.seq === 2 && !m.redelivered ? m.nak() : m.ack();
  if (worked.length === 5) break;
}
assert.ok(worked.includes("2.2"));

assert.ok(await kv.destroy());
await assert.rejects(kvm.open("js").then((kv) => kv.status()), /stream not found/);
await nc.drain();
console.log("ok");
