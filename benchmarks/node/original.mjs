// A stand-in for Colab's terminal server: a pty for each connection, over Socket.IO.
//
//   node original.mjs PORT COMMAND [ARGUMENT…]
//
// Written anew from a description of what the original sends and when it pauses; see docs/protocol.md,
// "Colab's contract", the newer form. Two things differ: WebSocket is allowed besides polling, and the
// terminal's name is that of the environment, so that all servers show the same.

import { createServer } from "node:http";
import pty from "node-pty";
import { Server } from "socket.io";

/** Characters of output after which the client is asked for an acknowledgement. */
const ACK_EVERY = 100_000;
/** The pty is paused above so many requests without an answer, and resumed below so many. */
const PAUSE_ABOVE = 5;
const RESUME_BELOW = 2;
const PING_TIMEOUT_MS = 60_000;

const [port, file, ...args] = process.argv.slice(2);

function serve(socket) {
  const child = pty.spawn(file, args, { name: process.env.TERM, cwd: process.cwd(), env: process.env });
  let sinceAsked = 0;
  let outstanding = 0;
  child.onData((data) => {
    const message = { data };
    sinceAsked += data.length;
    if (sinceAsked >= ACK_EVERY) {
      sinceAsked = 0;
      outstanding += 1;
      message.ack = true;
      if (outstanding > PAUSE_ABOVE) child.pause();
    }
    socket.emit("data", { data: JSON.stringify(message) });
  });
  child.onExit(() => socket.disconnect(true));
  socket.on("data", (event) => {
    const { data, cols, rows, ack } = JSON.parse(event.data);
    if (ack) {
      outstanding -= 1;
      if (outstanding < RESUME_BELOW) child.resume();
    }
    if (cols && rows) child.resize(cols, rows);
    if (data) child.write(data);
  });
  socket.on("disconnect", () => child.kill());
}

const server = createServer();
new Server(server, { path: "/tty", pingTimeout: PING_TIMEOUT_MS }).on("connection", serve);
server.listen(Number(port), "127.0.0.1");
