// A client of the page's protocol, version 1, with the unmodified socket.io-client.
import { Received, require, serve } from "./lines.mjs";

const { io } = require("socket.io-client");

const received = new Received();
const faults = [];
let socket;
let have = 0; // output bytes taken in
let joined, resets, inack, exit, ended;

// Cut the line without a word, as a network does.
function cut() {
  socket.io.engine.transport.ws.terminate();
}

function take(offset, data) {
  if (!Buffer.isBuffer(data)) faults.push("output is not binary");
  if (offset !== have) faults.push(`output at ${offset} after ${have}`);
  have = offset + data.length;
  received.add(data);
  socket.emit("ack", have);
}

// resume: {} presents the true place; its keys replace parts of it. cutAt: see `cut`, after so many
// bytes, in the middle of whatever is under way.
function open({ address, token, transports, size = [80, 24], resume, cutAt = Infinity }) {
  const auth = { protocol: 1, cols: size[0], rows: size[1] };
  if (resume) auth.resume = { id: joined?.id, key: joined?.key, offset: have, ...resume };
  [resets, inack, exit, ended] = [[], 0, null, null];
  socket = io(address, {
    path: "/tty",
    reconnection: false,
    forceNew: true,
    ...(transports ? { transports } : {}),
    query: { token },
    auth,
  });
  const mine = socket;
  mine.on("out", (offset, data) => {
    if (mine !== socket) return; // another connection has taken over
    take(offset, data);
    if (have >= cutAt) cut();
  });
  mine.on("reset", (message) => {
    have = message.offset;
    resets.push(message);
  });
  mine.on("inack", (seq) => (inack = seq));
  mine.on("exit", (message) => (exit = message));
  mine.on("disconnect", (reason) => mine === socket && (ended = reason));
  return new Promise((resolve) => {
    mine.on("joined", (message) => {
      joined = message;
      resolve({ joined });
    });
    mine.on("connect_error", (error) => resolve({ error: error.message, data: error.data }));
  });
}

serve({
  open,
  emit: ({ event, args }) => void socket.emit(event, ...args),
  cut,
  close: () => void socket?.disconnect(),
  state: () => ({ ...received.report(), faults, have, joined, resets, inack, exit, ended }),
});
