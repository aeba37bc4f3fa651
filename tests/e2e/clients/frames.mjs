// A client of colab/tty in the manner of Colab's VS Code extension: `ws`, the token in a header.
import { Received, require, serve } from "./lines.mjs";

const WebSocket = require("ws");

const received = new Received();
const seen = { asked: 0, opened: false, refused: null, code: null };
let socket;

serve({
  open({ address, headers }) {
    socket = new WebSocket(address, { headers });
    socket.on("message", (frame, isBinary) => {
      const message = JSON.parse(frame);
      received.add(message.data);
      if (message.ack) seen.asked += 1;
      if (isBinary) seen.refused = "a binary frame";
    });
    socket.on("close", (code) => (seen.code = code));
    return new Promise((resolve) => {
      socket.on("open", () => resolve({ opened: (seen.opened = true) }));
      socket.on("error", () => resolve({ opened: false }));
      socket.on("unexpected-response", (request, response) => {
        request.destroy();
        resolve({ opened: false, status: response.statusCode });
      });
    });
  },
  send: ({ message }) => void socket.send(JSON.stringify(message)),
  // As the `colab` command line does: one frame a character.
  type: ({ text }) => [...text].forEach((data) => socket.send(JSON.stringify({ data }))),
  close: () => void socket?.close(),
  state: () => ({ ...seen, ...received.report() }),
});
