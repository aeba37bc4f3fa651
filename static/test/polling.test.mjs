/** Polling with requests that overtake each other; the server is a list of requests to be answered by hand. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { PollingTransport } from "../src/polling.ts";

const OPEN = '0{"sid":"abc","upgrades":[],"pingTimeout":20000,"pingInterval":25000}';
const realFetch = globalThis.fetch;
let requests = [];

beforeEach(() => {
  requests = [];
  globalThis.fetch = (url, options = {}) =>
    new Promise((resolve, reject) => {
      options.signal?.addEventListener("abort", () => reject(new Error("aborted")));
      const answer = (body, number, status = 200) =>
        resolve(new Response(body, { status, headers: number === undefined ? {} : { "X-TTYBridge-Poll": String(number) } }));
      requests.push({ method: options.method ?? "GET", url: new URL(url), body: options.body, options, answer, fail: reject });
    });
});

afterEach(() => {
  globalThis.fetch = realFetch;
});

const settled = () => new Promise((resolve) => setTimeout(resolve, 5));
const of = (method) => requests.filter((request) => request.method === method);

/** Opens a transport, whose answers are known to be numbered or not; returns it with what it has told. */
async function opened(isNumbered = true) {
  const told = { packets: [], drained: 0, lost: [] };
  const transport = new PollingTransport(new URL("http://h/tty/?EIO=4&transport=polling"), { a: "b" }, {
    packet: (packet) => told.packets.push(packet),
    drained: () => (told.drained += 1),
    lost: (status) => told.lost.push(status),
  });
  assert.equal(transport.isFree, false);
  requests.shift().answer(OPEN);
  await settled();
  if (isNumbered) {
    requests.shift().answer("6", 0);
    await settled();
  }
  return { transport, told };
}

async function send(transport, ...packets) {
  for (const packet of packets) transport.send(packet);
  await settled();
}

test("the session is opened, and one request is held while nothing is sent", async () => {
  const { transport, told } = await opened(false);
  assert.deepEqual(told.packets, [OPEN]);
  assert.equal(transport.isFree, true);
  assert.deepEqual(requests.map(({ method, url }) => [method, url.searchParams.get("sid")]), [["GET", "abc"]]);
  requests[0].answer("2", 1);
  await settled();
  assert.equal(requests.length, 2);
  transport.close();
});

test("what is sent does not wait for the answer to the last, and is numbered", async () => {
  const { transport } = await opened();
  await send(transport, "a", "b");
  await send(transport, "c");
  assert.deepEqual(of("POST").map(({ body, url }) => [body, url.searchParams.get("n")]), [["a\x1eb", "1"], ["c", "2"]]);
  await send(transport, "d");
  assert.equal(transport.isFree, false);
  await send(transport, "e");
  await send(transport, "f");
  assert.equal(of("POST").length, 3, "the browser has six connections");
  of("POST")[1].answer("ok");
  await settled();
  assert.deepEqual(of("POST").map(({ body }) => body).slice(3), ["e\x1ef"]);
  transport.close();
});

test("answers that overtake each other are put in order", async () => {
  const { transport, told } = await opened();
  await send(transport, "a");
  assert.equal(of("GET").length, 3);
  of("GET")[2].answer("second", 2);
  await settled();
  assert.deepEqual(told.packets, [OPEN]);
  of("GET")[0].answer("first", 1);
  await settled();
  of("GET")[1].answer("third", 3);
  await settled();
  assert.deepEqual(told.packets, [OPEN, "first", "second", "third"]);
  transport.close();
});

test("an answer that none of the requests under way can bring is a lost connection", async () => {
  const { told } = await opened();
  requests[0].answer("second", 2); // The browser has asked twice; the first answer is gone.
  await settled();
  assert.deepEqual(told, { packets: [OPEN], drained: 0, lost: [undefined] });
  assert.equal(of("GET").length, 1);
});

test("an answer is waited for until none that was under way can bring it", async () => {
  const { transport, told } = await opened();
  await send(transport, "a");
  of("GET")[1].answer("second", 2);
  await settled();
  of("GET")[3].answer("fourth", 4);
  of("GET")[2].answer("6", 0);
  await settled();
  assert.deepEqual(told.lost, [], "the first request may still bring it");
  of("GET")[0].answer("fifth", 5);
  await settled();
  assert.deepEqual(told.packets, [OPEN]);
  assert.deepEqual(told.lost, [undefined]);
});

test("an answer that came late, and another one after it, are no loss", async () => {
  const { transport, told } = await opened();
  await send(transport, "a");
  of("GET")[1].answer("second", 2);
  await settled();
  of("GET")[0].answer("first", 1);
  await settled();
  of("GET")[3].answer("fourth", 4);
  await settled();
  of("GET")[2].answer("third", 3);
  await settled();
  assert.deepEqual(told.packets, [OPEN, "first", "second", "third", "fourth"]);
  assert.deepEqual(told.lost, []);
  transport.close();
});

test("an answer that says nothing has no place in the order", async () => {
  const { transport, told } = await opened();
  await send(transport, "a");
  of("GET")[1].answer("6", 0);
  of("GET")[0].answer("first", 1);
  await settled();
  assert.deepEqual(told.packets, [OPEN, "first"]);
  transport.close();
});

test("where answers come without a number, one request is held at a time", async () => {
  const { transport, told } = await opened(false);
  await send(transport, "a");
  assert.equal(of("GET").length, 1, "nobody knows yet whether answers are numbered");
  of("GET")[0].answer("first");
  await settled();
  await send(transport, "b");
  assert.equal(of("GET").length, 2);
  of("GET")[1].answer("second");
  await settled();
  assert.deepEqual(told.packets, [OPEN, "first", "second"]);
  assert.deepEqual(told.lost, []);
  transport.close();
});

test("an answer without a number, while others are under way, is a lost connection", async () => {
  const { transport, told } = await opened();
  await send(transport, "a");
  assert.equal(of("GET").length, 3);
  of("GET")[1].answer("which?");
  await settled();
  assert.deepEqual(told.packets, [OPEN]);
  assert.equal(told.lost.length, 1);
  transport.close();
});

test("a lost request is a lost connection, with its status, once", async () => {
  const { told, transport } = await opened();
  await send(transport, "a");
  of("POST")[0].answer("gone", undefined, 400);
  await settled();
  assert.deepEqual(told.lost, [400]);
  assert.ok(of("GET").every(({ options }) => options.signal.aborted));
});

test("a request that is refused waits for the goodbye that another one brings", async () => {
  const { told, transport } = await opened();
  await send(transport, "a");
  of("GET")[1].answer("gone", undefined, 400);
  await settled();
  assert.deepEqual(told.lost, []);
  of("GET")[0].answer("41", 1);
  await settled();
  assert.deepEqual(told.packets, [OPEN, "41"]);
  transport.close();
});

test("without an answer nothing is opened", async () => {
  const lost = [];
  const handlers = { packet: () => assert.fail(), drained: () => {}, lost: (status) => lost.push(status) };
  new PollingTransport(new URL("http://h/tty/"), {}, handlers);
  requests.shift().answer("sign in", undefined, 401);
  await settled();
  new PollingTransport(new URL("http://h/tty/"), {}, handlers);
  requests.shift().fail(new TypeError("no network"));
  await settled();
  assert.deepEqual(lost, [401, undefined]);
});

test("leaving says goodbye after what was still to be sent; giving up says nothing", async () => {
  const { transport } = await opened();
  await send(transport, "a");
  transport.send("b");
  transport.close(["41"]);
  const last = of("POST").at(-1);
  assert.deepEqual([last.body, last.url.searchParams.get("n"), last.options.keepalive], ["b\x1e41\x1e1", "2", true]);
  const other = await opened();
  const count = of("POST").length;
  other.transport.close();
  await settled();
  assert.equal(of("POST").length, count);
});
