/**
 * Opens the WebSocket while the page's script is still on its way: built into the page itself, behind the terminal's box.
 *
 * The `hello` goes into the address, so that the server begins at once; what it says is kept until
 * the script takes the socket over (main.ts).
 */

import { cellOf, expectsWebgl, fitIn } from "./cell.ts";
import { oneOf, plainText } from "./checks.ts";
import { defaultFontSize, rememberedFontSize } from "./fontsize.ts";
import { clampSize, DISPLAYS, type Hello, MAX_NAME, PROTOCOL_VERSION } from "./protocol.ts";
import type { Packet } from "./socketio.ts";
import { remembered } from "./storage.ts";

export interface EarlySocket {
  readonly socket: WebSocket;
  /** What has been told to the server. */
  readonly hello: Hello;
  /** What it has said since. */
  readonly messages: Packet[];
}

declare global {
  interface Window {
    ttybridgeEarly?: EarlySocket;
  }
}

/** Takes what was opened early, if anything: nothing of it is left on `window`, where its address could be read. */
export function takeEarly(): EarlySocket | undefined {
  const early = window.ttybridgeEarly;
  delete window.ttybridgeEarly;
  return early;
}

/** Opens the WebSocket with the size that the terminal will have; nothing where that cannot be told. */
export function openEarly(box: HTMLElement): EarlySocket | undefined {
  const cell = cellOf(rememberedFontSize() ?? defaultFontSize(innerWidth), expectsWebgl());
  if (!cell) return undefined;
  const hello: Hello = {
    protocol: PROTOCOL_VERSION,
    ...clampSize(fitIn(box, cell)),
    name: plainText(remembered("name"), MAX_NAME),
    display: oneOf(DISPLAYS, remembered("display")) ?? "auto",
    client: "page",
  };
  const address = new URL("tty/", document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const query = new URLSearchParams({ EIO: "4", transport: "websocket", hello: JSON.stringify(hello) });
  const credential = document.querySelector<HTMLMetaElement>('meta[name$="-credential"]')?.content;
  if (credential) query.set("token", credential);
  address.search = String(query);
  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  const early: EarlySocket = { socket, hello, messages: [] };
  socket.onmessage = ({ data }) => early.messages.push(data as Packet);
  return early;
}
