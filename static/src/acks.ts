/** When output that was parsed is acknowledged (docs/protocol.md). Pure. */

import type { Role } from "./protocol.ts";

/** Bytes parsed since the last acknowledgement that make one due; the protocol wants one every 64 KiB. */
export const ACK_EVERY_BYTES = 16 * 1024;

/** The same for who only watches: two hundred viewers would send the bridge thousands a second. */
export const WATCHING_ACK_BYTES = 48 * 1024;

/** How long parsed output may wait for its acknowledgement when no more comes, in milliseconds. */
const IDLE_MS = 40;
/** While polling, it is a request of its own unless it goes with keys; the server waits for 500 at most. */
const POLLING_MS = 300;

/** Returns how many parsed bytes make an acknowledgement due at once. */
export function ackEvery(role: Role): number {
  return role === "viewer" ? WATCHING_ACK_BYTES : ACK_EVERY_BYTES;
}

/** Returns how long less than that may wait, in milliseconds. */
export function ackWait(isPolling: boolean): number {
  return isPolling ? POLLING_MS : IDLE_MS;
}
