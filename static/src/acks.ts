/** When output that was parsed is acknowledged (docs/protocol.md). Pure. */

import type { Role } from "./protocol.ts";

/** Bytes parsed since the last acknowledgement that make one due; the protocol wants one every 64 KiB. */
export const ACK_EVERY_BYTES = 16 * 1024;

/** The same for who only watches: two hundred viewers would send the bridge thousands a second. */
export const WATCHING_ACK_BYTES = 128 * 1024;

/** Output since a viewer's stream began until which it acknowledges like anybody: its window has to grow first. */
export const EARLY_BYTES = 256 * 1024;

/** How long parsed output may wait for its acknowledgement when no more comes, in milliseconds. */
const IDLE_MS = 40;
const WATCHING_MS = 100;
/** While polling, it is a request of its own unless it goes with keys; the server waits for 500 at most. */
const POLLING_MS = 300;

/** When output is acknowledged. */
export interface AckRule {
  /** So many parsed bytes make it due at once. */
  readonly bytes: number;
  /** Less than that may wait so long, in milliseconds. */
  readonly wait: number;
}

/** Returns when output is acknowledged, `taken` bytes after the stream began. */
export function ackRule(role: Role, isPolling: boolean, taken: number): AckRule {
  const watches = role === "viewer" && taken >= EARLY_BYTES;
  const wait = watches ? WATCHING_MS : IDLE_MS;
  return { bytes: watches ? WATCHING_ACK_BYTES : ACK_EVERY_BYTES, wait: isPolling ? POLLING_MS : wait };
}
