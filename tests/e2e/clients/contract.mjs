// A client of Colab's contract on Socket.IO, with the unmodified socket.io-client.
import { Received, require, serve } from "./lines.mjs";

const { io } = require("socket.io-client");

const received = new Received();
const seen = { asked: 0, gaps: [], faults: [], exit: null, ended: null };
let socket;
let older = false;
let answers = true; // whether requests for an acknowledgement are answered
let since = 0; // characters since the last request
let owed = []; // answers to requests that wait

const say = (message) => socket.emit("data", { data: JSON.stringify(message) });

function pay() {
  while (answers && owed.length) owed.shift()();
}

function disconnected(reason) {
  seen.ended = reason;
  seen.endedAfterExit = seen.exit !== null;
}

function asked(answer) {
  seen.asked += 1;
  seen.gaps.push(since);
  since = 0;
  owed.push(answer);
  pay();
}

function onData(message, acknowledge) {
  if (older) {
    if (message.pause !== true || !acknowledge) seen.faults.push("not the older form");
    received.add(message.data);
    asked(acknowledge);
    return;
  }
  if (Object.keys(message).join() !== "data" || acknowledge) seen.faults.push("not the newer form");
  const inner = JSON.parse(message.data);
  received.add(inner.data);
  since += inner.data.length;
  if (inner.ack === true) asked(() => say({ ack: true }));
}

function open({ address, transports, query, headers, answers: willing = true }) {
  older = query?.form === "older";
  answers = willing;
  socket = io(address, {
    path: "/tty",
    reconnection: false,
    ...(transports ? { transports } : {}),
    query,
    extraHeaders: headers,
  });
  socket.on("data", onData);
  socket.on("exit", (message) => (seen.exit = message));
  socket.on("disconnect", disconnected);
  return new Promise((resolve) => {
    socket.on("connect", () => resolve({ connected: true }));
    socket.on("connect_error", (error) => resolve({ connected: false, error: String(error) }));
  });
}

serve({
  open,
  say: ({ message }) => void say(message),
  // One event a text. The client joins those that wait for the POST under way.
  type: ({ texts }) => texts.forEach((data) => say({ data })),
  // One POST a text.
  async typeSlowly({ texts }) {
    for (const data of texts) {
      const drained = new Promise((resolve) => socket.io.engine.once("drain", resolve));
      say({ data });
      await drained;
    }
  },
  answer({ on }) {
    answers = on;
    pay();
  },
  pay: ({ count }) => void owed.splice(0, count).forEach((answer) => answer()),
  spareAcks({ count }) {
    for (let i = 0; i < count; i++) say({ ack: true });
  },
  emit: ({ event, args }) => void socket.emit(event, ...args),
  stopReading: () => void socket.io.engine.transport.ws._socket.pause(),
  close: () => void socket?.disconnect(),
  state: () => ({
    ...seen,
    ...received.report(),
    owed: owed.length,
    since,
    connected: socket.connected,
    transport: socket.io.engine.transport.name,
  }),
});
