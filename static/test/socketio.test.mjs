/** Packets of Engine.IO and Socket.IO, in and out. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { connectPacket, eventPacket, joinPackets, MalformedPacket, PacketReader, splitPackets } from "../src/socketio.ts";

const OPEN = '0{"sid":"a-B_1","upgrades":[],"pingTimeout":20000,"pingInterval":25000,"maxPayload":1000000}';
const bytes = (...values) => Uint8Array.from(values).buffer;

test("what is said goes out as the server reads it", () => {
  assert.equal(connectPacket({ protocol: 1 }), '40{"protocol":1}');
  assert.equal(eventPacket("in", [7, 'a"\u{1f600}']), '42["in",7,"a\\"\u{1f600}"]');
  assert.equal(joinPackets(["3", "41"]), "3\x1e41");
});

test("the first packet tells the session and how long silence may last", () => {
  assert.deepEqual(new PacketReader().read(OPEN), { kind: "open", sid: "a-B_1", pingMs: 25000, patienceMs: 20000 });
});

test("each kind of packet is told apart", () => {
  const reader = new PacketReader();
  assert.deepEqual(reader.read("2"), { kind: "ping", answer: "3" });
  assert.deepEqual(reader.read("2probe"), { kind: "ping", answer: "3probe" });
  assert.deepEqual(reader.read('40{"sid":"x"}'), { kind: "connected" });
  assert.deepEqual(reader.read('44{"message":"m","data":{"code":"full"}}'), { kind: "refused", data: { code: "full" } });
  assert.deepEqual(reader.read('42["inack",3]'), { kind: "event", name: "inack", args: [3] });
  assert.deepEqual(reader.read("41"), { kind: "closed" });
  assert.deepEqual(reader.read("1"), { kind: "closed" });
  assert.equal(reader.read("6"), undefined);
});

test("an event is complete when its bytes have come", () => {
  const reader = new PacketReader();
  assert.equal(reader.read('452-["out",5,{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]'), undefined);
  assert.equal(reader.read(bytes(1)), undefined);
  assert.deepEqual(reader.read(bytes(2, 3)), { kind: "event", name: "out", args: [5, bytes(2, 3), bytes(1)] });
  assert.deepEqual(reader.read('42["inack",3]'), { kind: "event", name: "inack", args: [3] });
});

test("an answer to polling is taken apart, its bytes out of base64", () => {
  const base64 = Buffer.from([0, 255, 10]).toString("base64");
  assert.deepEqual(splitPackets(`42["inack",1]\x1e451-["out",0,{}]\x1eb${base64}`), [
    '42["inack",1]',
    '451-["out",0,{}]',
    bytes(0, 255, 10),
  ]);
});

test("what makes no sense is refused", () => {
  for (const packet of ["0", "0{}", '0{"sid":1}', "42", "42{", '42{"a":1}', "42[]", "42[1]", "45", '45["a"]', '450-["a"]', "45x", "44{"]) {
    assert.throws(() => new PacketReader().read(packet), MalformedPacket, packet);
  }
  assert.throws(() => new PacketReader().read(bytes(1)), MalformedPacket);
  const reader = new PacketReader();
  reader.read('451-["out",0,{"_placeholder":true,"num":0}]');
  assert.throws(() => reader.read('42["inack",1]'), MalformedPacket);
});
